import type { RecentlyTold } from '@bhatti/logging';
import type { Logger } from 'pino';
import type { Readiness } from './api-schema.ts';

/**
 * Tells in the log why a pull would not be done: each state once, and once a minute while it lasts. Orchestrators ask every few seconds,
 * for as long as it takes.
 */
export class ReadinessLog {
  readonly #log: Logger;
  readonly #told: RecentlyTold;

  /**
   * @param log of the request
   * @param told shared by all requests
   */
  constructor(log: Logger, told: RecentlyTold) {
    this.#log = log;
    this.#told = told;
  }

  /** A check failed in a way whose details are for the log only. */
  failed(what: string, error: unknown): void {
    const cause = error instanceof Error ? error.cause : undefined;
    if (this.#told.isDue(`${what}: ${error}: ${cause}`))
      this.#log.warn({ err: error }, `not ready: ${what} cannot be used`);
  }

  checked({ status, checks }: Readiness): void {
    if (status === 'ready') {
      if (this.#told.end()) this.#log.info('ready again');
    } else if (this.#told.isDue(JSON.stringify(checks))) {
      this.#log.warn({ checks }, 'not ready');
    }
  }
}
