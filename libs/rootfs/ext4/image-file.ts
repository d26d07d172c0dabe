import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { BLOCK_SIZE } from './format.ts';

/** Most bytes gathered for one write of metadata. */
const GATHER = 1024 * 1024;

/** The image being built. Consecutive metadata blocks are gathered into large writes. */
export class ImageFile {
  readonly #descriptor: number;
  readonly #buffer = Buffer.allocUnsafeSlow(GATHER);
  #start = 0;
  #length = 0;

  constructor(path: string) {
    this.#descriptor = openSync(path, 'r+');
  }

  read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      const count = readSync(this.#descriptor, bytes, at, length - at, offset + at);
      if (count === 0) throw new Error('the image is shorter than its file system');
      at += count;
    }
    return bytes;
  }

  /** Writes bytes at an offset immediately. */
  write(offset: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at, bytes.length - at, offset + at);
  }

  /** Writes whole blocks later: at the next gap, when the buffer is full, or at `flush`. */
  writeBlock(block: number, bytes: Buffer): void {
    const offset = block * BLOCK_SIZE;
    if (this.#length > 0 && (this.#start + this.#length !== offset || this.#length + bytes.length > GATHER))
      this.flush();
    if (this.#length === 0) this.#start = offset;
    bytes.copy(this.#buffer, this.#length);
    this.#length += bytes.length;
  }

  flush(): void {
    this.write(this.#start, this.#buffer.subarray(0, this.#length));
    this.#length = 0;
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
