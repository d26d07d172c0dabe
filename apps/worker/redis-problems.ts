import { RecentlyTold } from '@bhatti/logging';
import type { Logger } from 'pino';

/**
 * Tells in the log what is wrong with Redis: each problem once, and once a minute while it lasts. It comes with every attempt, up to ten
 * a second over several connections, and a log that grows with them fills the disk that Redis may lack.
 */
export class RedisProblems {
  readonly #logger: Logger;
  /** Commands that Redis refused. */
  readonly #refused = new RecentlyTold();
  /** Failures of the connection, since it was last made. */
  readonly #lost = new RecentlyTold();
  /** Whether it was ever made. */
  #wasConnected = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  tell(error: Error, message: string): void {
    const told = error.name === 'ReplyError' ? this.#refused : this.#lost;
    if (told.isDue(error.message)) this.#logger.warn({ err: error }, message);
  }

  /** A connection was made. What Redis refuses may go on; should the connection be lost again, that is another problem. */
  connected(): void {
    const wasLost = this.#lost.end();
    // The first one is told with the name of the product, see `startWorker`.
    if (wasLost && this.#wasConnected) this.#logger.info('connected to Redis again');
    this.#wasConnected = true;
  }
}
