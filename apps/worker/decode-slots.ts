import type { GrowingFile } from './growing-file.ts';

interface Waiting {
  readonly file: GrowingFile;
  readonly start: () => void;
}

/**
 * The turns of layers to be decoded. A decode keeps a processor busy as long as it is fed, so more of them than processors
 * help nobody: four at once instead of two took a 1 GB image 3.6 to 4.3 s instead of 3.2 to 3.8 s, and 360 MB instead of
 * 230 MB of memory. But one that waits for its download keeps nobody busy: slow downloads must not keep layers waiting that are
 * on disk already. So while it waits it does not count for those.
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
    const unwatch = file.watch(() => this.#admit());
    try {
      await this.#enter(file, signal);
      return await decode();
    } finally {
      unwatch();
      this.#running.delete(file);
      this.#admit();
    }
  }

  async #enter(file: GrowingFile, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
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
        this.#admit();
      });
    } finally {
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

  /** At most twice the count run, whatever the downloads do: those that had waited for theirs may all be fed later. */
  #hasRoom(file: GrowingFile): boolean {
    if (this.#running.size < this.#count) return true;
    if (!file.isWhole || this.#running.size >= 2 * this.#count) return false;
    return [...this.#running].filter((running) => running.isAhead).length < this.#count;
  }
}
