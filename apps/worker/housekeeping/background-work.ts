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
  readonly #options: BackgroundWorkOptions;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(options: BackgroundWorkOptions) {
    this.#options = options;
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
    const { what, work, lull, logger } = this.#options;
    do {
      await lull();
      this.#again = false;
      try {
        await work();
      } catch (error) {
        logger.error(
          { err: error },
          `cannot ${what} published files; tried again after the next publish, or with housekeeping`,
        );
      }
    } while (this.#again);
    this.#running = undefined;
  }
}
