import type { GrowingFile } from './growing-file.ts';

interface Waiting {
  readonly file: GrowingFile;
  readonly start: () => void;
}

/**
 * The turns of layers to be decoded. A decode keeps a processor busy as long as it is fed, so more of them than processors
 * help nobody: four at once instead of two took a 1 GB image 3.6 to 4.3 s instead of 3.2 to 3.8 s, and 360 MB instead of
 * 230 MB of memory. But one that follows a download is fed no faster than that: slow downloads must not keep layers
 * waiting that are on disk already. So those count for each other only.
 */
export class DecodeSlots {
  readonly #count: number;
  readonly #running = new Set<GrowingFile>();
  #waiting: readonly Waiting[] = [];

  constructor(count: number) {
    this.#count = count;
  }

  /** Decodes when it is the file's turn; rejects with the signal's reason when aborted before. */
  async run<T>(file: GrowingFile, signal: AbortSignal, decode: () => Promise<T>): Promise<T> {
    await this.#enter(file, signal);
    try {
      return await decode();
    } finally {
      this.#running.delete(file);
      this.#admit();
    }
  }

  async #enter(file: GrowingFile, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let unfollow = () => {};
    let onAbort = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        const waiting = { file, start: resolve };
        onAbort = () => {
          this.#waiting = this.#waiting.filter((other) => other !== waiting);
          reject(signal.reason);
        };
        signal.addEventListener('abort', onAbort);
        this.#waiting = [...this.#waiting, waiting];
        // It may be its turn as soon as it is whole.
        unfollow = file.follow(() => this.#admit());
      });
    } finally {
      unfollow();
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Starts those whose turn it is, in order of asking. */
  #admit(): void {
    for (const waiting of this.#waiting) {
      if (!this.#hasRoom(waiting.file)) continue;
      this.#waiting = this.#waiting.filter((other) => other !== waiting);
      this.#running.add(waiting.file);
      waiting.start();
    }
  }

  #hasRoom(file: GrowingFile): boolean {
    if (this.#running.size < this.#count) return true;
    const whole = [...this.#running].filter((running) => running.isWhole).length;
    return file.isWhole && whole < this.#count;
  }
}
