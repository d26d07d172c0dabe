import { closeSync, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { RootfsError } from '../error.ts';

/** Bytes of one read. */
const READ = 1024 * 1024;

const readAt = promisify(read);

/**
 * Reads a file of a known final size from its start while somebody appends to it: what is announced as available is
 * read at once, for the rest it waits.
 *
 * A chunk is valid until the one after it is asked for. Two buffers take turns, the one read into while the other is
 * worked on: a new one for each read made the collector run twice as often.
 */
export class GrowingFile {
  readonly #path: string;
  readonly #size: number;
  readonly #onRead: (bytes: number) => void;
  #available: number;
  #wake: () => void = () => {};

  /** @param onRead is told how many bytes have been read, each time a chunk is handed out */
  constructor(path: string, size: number, available: number, onRead: (bytes: number) => void = () => {}) {
    this.#path = path;
    this.#size = size;
    this.#available = available;
    this.#onRead = onRead;
  }

  /** Says that the first `bytes` bytes of the file are there. */
  announce(bytes: number): void {
    this.#available = Math.max(this.#available, bytes);
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    if (this.#size === 0) return;
    await this.#until(1);
    // By its number: Node closes that when the thread is ended, and left one in 50 FileHandles open, with the room of a file that was removed.
    const file = openSync(this.#path, 'r');
    const length = Math.min(READ, this.#size);
    let [buffer, spare] = [Buffer.allocUnsafeSlow(length), Buffer.allocUnsafeSlow(length)];
    let reading = this.#read(file, buffer, 0);
    try {
      for (let at = 0; at < this.#size; ) {
        const bytes = await reading;
        at += bytes;
        const chunk = buffer.subarray(0, bytes);
        [buffer, spare] = [spare, buffer];
        if (at < this.#size) {
          reading = this.#read(file, buffer, at);
          // It fails when it is asked for, and not before.
          reading.catch(() => {});
        }
        this.#onRead(at);
        yield chunk;
      }
    } finally {
      // A read that waits for bytes which never come ends here.
      this.announce(this.#size);
      await reading.catch(() => {});
      closeSync(file);
    }
  }

  async #read(file: number, into: Buffer, at: number): Promise<number> {
    await this.#until(at + 1);
    const length = Math.min(into.length, this.#size - at, this.#available - at);
    const { bytesRead } = await readAt(file, into, 0, length, at);
    if (bytesRead > 0) return bytesRead;
    throw new RootfsError('size_mismatch', `${this.#path} is shorter than it should be`, { retryable: true });
  }

  async #until(bytes: number): Promise<void> {
    while (this.#available < bytes) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}
