import type { Logger } from 'pino';

export interface BackgroundWorkOptions {
  /** For the log: `cannot <what> published files`. */
  readonly what: string;
  readonly work: () => Promise<void>;
  /** Resolves when a run may start. */
  readonly lull: () => Promise<void>;
  readonly logger: Logger;
}

/**
 * Work on published files that a publish does not wait for: syncing them (a gigabyte takes seconds, and after a power loss
 * the store drops what was not synced), and taking their digests. One run at a time, during a lull: a digest taken beside
 * the next pull made a build from cached layers a third slower on two processors.
 */
export class BackgroundWork {
  readonly #what: string;
  readonly #work: () => Promise<void>;
  readonly #lull: () => Promise<void>;
  readonly #logger: Logger;
  #running: Promise<void> | undefined;
  #again = false;

  constructor({ what, work, lull, logger }: BackgroundWorkOptions) {
    this.#what = what;
    this.#work = work;
    this.#lull = lull;
    this.#logger = logger;
  }

  /** Starts a run, or one more after the current one, which may be past the new file already. */
  request(): void {
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#running = this.#run();
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    do {
      await this.#lull();
      this.#again = false;
      try {
        await this.#work();
      } catch (error) {
        this.#logger.error(
          { err: error },
          `cannot ${this.#what} published files; tried again after the next publish, or with housekeeping`,
        );
      }
    } while (this.#again);
    this.#running = undefined;
  }
}
