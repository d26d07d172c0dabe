import type { Logger } from 'pino';

/** Ms before the same problem is told again. */
const quiet = 60_000;

/**
 * Tells in the log what is wrong with Redis: each problem once, and once a minute while it lasts. It comes with every attempt, up to ten
 * a second over several connections, and a log that grows with them fills the disk that Redis may lack.
 */
export class RedisProblems {
  readonly #logger: Logger;
  /** When each was told, by `performance.now()`. */
  readonly #told = new Map<string, number>();
  #isOver = true;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  tell(error: Error, message: string): void {
    const now = performance.now();
    for (const [text, at] of this.#told) if (now - at >= quiet) this.#told.delete(text);
    if (this.#told.has(error.message)) return;
    this.#told.set(error.message, now);
    this.#isOver = false;
    this.#logger.warn({ err: error }, message);
  }

  /** A connection was made. */
  connected(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#logger.info('connected to Redis again');
  }
}
