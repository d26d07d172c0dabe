import type { GrowingFile } from './growing-file.ts';

interface Waiting {
  readonly file: GrowingFile;
  readonly start: () => void;
}

/**
 * Limits how many layers are decoded at once. A decode keeps a processor busy as long as it is fed, so more of them than
 * processors do not help: with four at once instead of two, a 1 GB image took 3.6 to 4.3 s instead of 3.2 to 3.8 s, and 360 MB
 * of memory instead of 230 MB. But slow downloads must not hold up layers that are on disk already: for these, a decode that
 * waits for its download does not count.
 */
export class DecodeSlots {
  readonly #count: number;
  readonly #running = new Set<GrowingFile>();
  #waiting: readonly Waiting[] = [];

  constructor(count: number) {
    this.#count = count;
  }

  /** Runs `decode` when there is a slot for the file; rejects with the signal's reason when it aborts before that. */
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

  /** Starts those for which there is a slot now, first come, first served. */
  #admit(): void {
    for (const waiting of this.#waiting) {
      if (!this.#hasRoom(waiting.file)) continue;
      this.#waiting = this.#waiting.filter((other) => other !== waiting);
      this.#running.add(waiting.file);
      waiting.start();
    }
  }

  /** At most twice the count run, whatever the downloads do: all those waiting for theirs may be fed again at once. */
  #hasRoom(file: GrowingFile): boolean {
    if (this.#running.size < this.#count) return true;
    if (!file.isWhole || this.#running.size >= 2 * this.#count) return false;
    return [...this.#running].filter((running) => running.isAhead).length < this.#count;
  }
}
