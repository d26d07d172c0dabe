import { closeSync, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { RootfsError } from '../error.ts';

/** Most bytes of one read. */
const READ = 1024 * 1024;

const readAt = promisify(read);

/**
 * Reads a file of a known final size from its start while it is being appended to: it reads what has been announced as available,
 * and waits for the rest.
 *
 * A chunk is only valid until the next one is requested. Two buffers alternate, one being read into while the other is processed:
 * a new buffer for each read made the garbage collector run twice as often.
 */
export class GrowingFile {
  readonly #path: string;
  readonly #size: number;
  readonly #onRead: (bytes: number) => void;
  #available: number;
  #wake: () => void = () => {};

  /** @param onRead called with the number of bytes read so far, before each chunk is yielded */
  constructor(path: string, size: number, available: number, onRead: (bytes: number) => void = () => {}) {
    this.#path = path;
    this.#size = size;
    this.#available = available;
    this.#onRead = onRead;
  }

  /** Announces that the first `bytes` bytes of the file are available. */
  announce(bytes: number): void {
    this.#available = Math.max(this.#available, bytes);
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    if (this.#size === 0) return;
    await this.#until(1);
    // Not a FileHandle: when a thread was terminated, Node left one in 50 of them open, and with it the disk space of a removed file.
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
          // A failure is reported when it is awaited, and must not be unhandled before.
          reading.catch(() => {});
        }
        this.#onRead(at);
        yield chunk;
      }
    } finally {
      // Ends a read that waits for bytes which will not come.
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
