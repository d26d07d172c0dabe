import { writeSync } from 'node:fs';
import type { DataRuns } from './entry.ts';

/** Bytes of a block in the data file; the same as in the file system. */
export const BLOCK = 4096;

/** Blocks gathered for one write. */
const GATHER = 256;
/** Bytes between two calls of `beforeWriting`. */
const LOOK = 64 * 1024 * 1024;
const ZERO_BLOCK = Buffer.alloc(BLOCK);

/**
 * Appends the content of files to a layer's data file, each starting at a block boundary and zero-padded to the next. Blocks of
 * zeros are not stored: they are left out of the file's runs.
 */
export class LayerData {
  readonly #descriptor: number;
  readonly #beforeWriting: (bytes: number) => void;
  #checkedUntil = 0;
  readonly #buffer = Buffer.allocUnsafeSlow(GATHER * BLOCK);
  /** Whole blocks in the buffer, and bytes of the unfinished one after them. */
  #gathered = 0;
  #partial = 0;
  #written = 0;
  #zeroBlocks = 0;
  #fileBlock = 0;
  /** See `DataRuns`. */
  #runs: number[] = [];

  /** @param beforeWriting called from time to time before so many bytes are written, which it prevents by throwing */
  constructor(descriptor: number, beforeWriting: (bytes: number) => void = () => {}) {
    this.#descriptor = descriptor;
    this.#beforeWriting = beforeWriting;
  }

  /** Bytes of the data file so far. */
  get writtenBytes(): number {
    return this.#written * BLOCK;
  }

  /** Bytes of whole blocks of zeros that were appended. */
  get zeroBytes(): number {
    return this.#zeroBlocks * BLOCK;
  }

  /** Appends bytes to the current file. */
  append(bytes: Buffer): void {
    let at = 0;
    if (this.#partial > 0) {
      at = Math.min(bytes.length, BLOCK - this.#partial);
      this.#keep(bytes, 0, at);
      if (this.#partial === BLOCK) this.#finishBlock();
    }
    while (bytes.length - at >= BLOCK) at = this.#appendBlocks(bytes, at);
    if (at < bytes.length) this.#keep(bytes, at, bytes.length);
  }

  /** Appends `count` bytes of zeros, in constant time. */
  skip(count: number): void {
    let left = count;
    if (this.#partial > 0) {
      const fill = Math.min(left, BLOCK - this.#partial);
      const at = this.#gathered * BLOCK + this.#partial;
      this.#buffer.fill(0, at, at + fill);
      this.#partial += fill;
      left -= fill;
      if (this.#partial === BLOCK) this.#finishBlock();
    }
    this.#fileBlock += Math.floor(left / BLOCK);
    if (left % BLOCK > 0) this.append(ZERO_BLOCK.subarray(0, left % BLOCK));
  }

  /** Ends the current file, and returns its runs of blocks that are not all zeros. */
  endFile(): DataRuns {
    if (this.#partial > 0) this.skip(BLOCK - this.#partial);
    const runs = this.#runs;
    this.#runs = [];
    this.#fileBlock = 0;
    return runs;
  }

  /** Writes the gathered blocks. */
  flush(): void {
    const end = this.#gathered * BLOCK;
    if (this.writtenBytes + end > this.#checkedUntil) {
      this.#beforeWriting(end);
      this.#checkedUntil = this.writtenBytes + LOOK;
    }
    for (let at = 0; at < end; ) at += writeSync(this.#descriptor, this.#buffer, at, end - at);
    this.#written += this.#gathered;
    this.#gathered = 0;
  }

  /** Appends whole blocks: skips zeros, then copies a span of others at once. Returns the offset that it got to. */
  #appendBlocks(bytes: Buffer, from: number): number {
    let at = from;
    while (bytes.length - at >= BLOCK && isZero(bytes, at)) {
      at += BLOCK;
      this.#fileBlock++;
      this.#zeroBlocks++;
    }
    const room = (GATHER - this.#gathered) * BLOCK;
    const limit = Math.min(bytes.length - BLOCK, at + room - BLOCK);
    let end = at;
    while (end <= limit && !isZero(bytes, end)) end += BLOCK;
    if (end > at) {
      bytes.copy(this.#buffer, this.#gathered * BLOCK, at, end);
      this.#record((end - at) / BLOCK);
    }
    return end;
  }

  #keep(bytes: Buffer, from: number, to: number): void {
    bytes.copy(this.#buffer, this.#gathered * BLOCK + this.#partial, from, to);
    this.#partial += to - from;
  }

  #finishBlock(): void {
    this.#partial = 0;
    if (isZero(this.#buffer, this.#gathered * BLOCK)) this.#fileBlock++;
    else this.#record(1);
  }

  #record(blocks: number): void {
    const dataBlock = this.#written + this.#gathered;
    const runs = this.#runs;
    const last = runs.length - 3;
    const [fileBlock = -1, from = -1, count = 0] = [runs[last], runs[last + 1], runs[last + 2]];
    if (fileBlock + count === this.#fileBlock && from + count === dataBlock) runs[last + 2] = count + blocks;
    else runs.push(this.#fileBlock, dataBlock, blocks);
    this.#fileBlock += blocks;
    this.#gathered += blocks;
    if (this.#gathered === GATHER) this.flush();
  }
}

/** Whether the block of bytes from `at` on is all zeros. */
export function isZero(bytes: Buffer, at: number): boolean {
  // Nearly every other block has a first or last byte that is not zero, which saves the comparison.
  return bytes[at] === 0 && bytes[at + BLOCK - 1] === 0 && bytes.compare(ZERO_BLOCK, 0, BLOCK, at, at + BLOCK) === 0;
}
