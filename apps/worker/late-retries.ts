import { type TaskQueue, takeUpLateRetries } from '@bhatti/tasks';
import type { Logger } from 'pino';

/** Ms between looks. */
const INTERVAL = 10_000;

/** Starts tasks whose next attempt is overdue because a clock was wrong. */
export class LateRetries {
  readonly #queue: TaskQueue;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;

  constructor(queue: TaskQueue, logger: Logger) {
    this.#queue = queue;
    this.#logger = logger;
  }

  start(): void {
    this.#timer = setInterval(() => {
      takeUpLateRetries(this.#queue).catch((error: unknown) =>
        this.#logger.warn({ err: error }, 'cannot look for late retries'),
      );
    }, INTERVAL);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
