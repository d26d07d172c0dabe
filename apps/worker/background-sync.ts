import type { Logger } from 'pino';

/**
 * Brings published files to the disk in the background. A publish does not wait for it: syncing a gigabyte takes seconds,
 * and after a power loss the store drops what was not synced.
 */
export class BackgroundSync {
  readonly #sync: () => Promise<void>;
  readonly #logger: Logger;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(sync: () => Promise<void>, logger: Logger) {
    this.#sync = sync;
    this.#logger = logger;
  }

  /** Starts a run, or one more after the present one, which may have passed the new file already. */
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
      this.#again = false;
      try {
        await this.#sync();
      } catch (error) {
        this.#logger.error({ err: error }, 'cannot sync published files; tried again after the next publish');
      }
    } while (this.#again);
    this.#running = undefined;
  }
}
