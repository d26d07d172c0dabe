import { type FileHandle, open } from 'node:fs/promises';
import { RootfsError } from '../error.ts';

/** Bytes of one read. Measured as in `compression.ts`: no difference from 256 KiB to 4 MiB. */
const READ = 1024 * 1024;

/**
 * Reads a file of a known final size from its start while another process of work appends to it: what is announced as
 * available is read at once, for the rest it waits.
 */
export class GrowingFile {
  readonly #path: string;
  readonly #size: number;
  #available: number;
  #wake: () => void = () => {};

  constructor(path: string, size: number, available: number) {
    this.#path = path;
    this.#size = size;
    this.#available = available;
  }

  /** Says that the first `bytes` bytes of the file are there. */
  announce(bytes: number): void {
    this.#available = Math.max(this.#available, bytes);
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    let file: FileHandle | undefined;
    let at = 0;
    try {
      while (at < this.#size) {
        while (this.#available <= at) await new Promise<void>((resolve) => (this.#wake = resolve));
        file ??= await open(this.#path, 'r');
        const length = Math.min(READ, this.#size - at, this.#available - at);
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(length), 0, length, at);
        if (bytesRead === 0)
          throw new RootfsError('size_mismatch', `${this.#path} is shorter than it should be`, { retryable: true });
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file?.close();
    }
  }
}
