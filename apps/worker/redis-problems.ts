import type { Logger } from 'pino';

/** Ms before the same problem is told again. */
const quiet = 60_000;

/**
 * Tells in the log what is wrong with Redis: each problem once, and once a minute while it lasts. It comes with every attempt, up to ten
 * a second over several connections, and a log that grows with them fills the disk that Redis may lack.
 */
export class RedisProblems {
  readonly #logger: Logger;
  /** When each command's refusal was told, by `performance.now()`. */
  readonly #refused = new Map<string, number>();
  /** The same for failures of the connection, since it was last made. */
  readonly #lost = new Map<string, number>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  tell(error: Error, message: string): void {
    const told = error.name === 'ReplyError' ? this.#refused : this.#lost;
    const now = performance.now();
    for (const [text, at] of told) if (now - at >= quiet) told.delete(text);
    if (told.has(error.message)) return;
    told.set(error.message, now);
    this.#logger.warn({ err: error }, message);
  }

  /** A connection was made. What Redis refuses may go on; should the connection be lost again, that is another problem. */
  connected(): void {
    if (this.#lost.size === 0) return;
    this.#lost.clear();
    this.#logger.info('connected to Redis again');
  }
}
