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
  /** Failures of the connections, since the worker's own was last made or lost. */
  readonly #lost = new RecentlyTold();
  /** Whether the worker's own connection was ever made. */
  #wasConnected = false;
  #isConnected = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  tell(error: Error, message: string): void {
    const told = error.name === 'ReplyError' ? this.#refused : this.#lost;
    if (told.isDue(error.message)) this.#logger.warn({ err: error }, message);
  }

  /** The worker's own connection was made. What Redis refuses may go on. */
  connected(): void {
    this.#lost.end();
    // The first one is told with the name of the product, see `startWorker`.
    if (this.#wasConnected) this.#logger.info('connected to Redis again');
    this.#wasConnected = true;
    this.#isConnected = true;
  }

  /**
   * The worker's own connection was lost, or an attempt to make it again failed. A loss is another problem than the one before,
   * though the queue's connection, which is made again on its own, may have told of that after the worker's was back.
   */
  disconnected(): void {
    if (this.#isConnected) this.#lost.end();
    this.#isConnected = false;
  }
}
