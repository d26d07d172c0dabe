import { writeSync } from 'node:fs';
import type { DataRun } from './entry.ts';

/** Bytes of a block, of the data file as of the file system. */
export const BLOCK = 4096;

/** Blocks gathered for one write. */
const GATHER = 256;
/** Bytes between two looks at how much of the disk is free. */
const LOOK = 64 * 1024 * 1024;
const ZERO_BLOCK = Buffer.alloc(BLOCK);

/**
 * Appends the content of files to a layer's data file, each file from a block's boundary on, zero-padded to the next.
 * Blocks of zeros are not written: they become holes of the file.
 */
export class LayerData {
  readonly #descriptor: number;
  readonly #requireSpace: (bytes: number) => void;
  #spaceUntil = 0;
  readonly #buffer = Buffer.allocUnsafeSlow(GATHER * BLOCK);
  /** Whole blocks in the buffer, and bytes of the unfinished one after them. */
  #gathered = 0;
  #partial = 0;
  #written = 0;
  #zeroBlocks = 0;
  #fileBlock = 0;
  #runs: [number, number, number][] = [];

  /** @param requireSpace throws unless so many bytes are free; asked now and then, before they are written */
  constructor(descriptor: number, requireSpace: (bytes: number) => void = () => {}) {
    this.#descriptor = descriptor;
    this.#requireSpace = requireSpace;
  }

  /** Bytes that were appended in whole blocks of zeros. */
  get zeroBytes(): number {
    return this.#zeroBlocks * BLOCK;
  }

  /** Appends bytes to the file under way. */
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

  /** Appends `count` bytes of zeros, in no time for whole blocks. */
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

  /** Ends the file under way: its runs of blocks that hold something. */
  endFile(): DataRun[] {
    if (this.#partial > 0) this.skip(BLOCK - this.#partial);
    const runs = this.#runs;
    this.#runs = [];
    this.#fileBlock = 0;
    return runs;
  }

  /** Writes what is gathered. */
  flush(): void {
    const end = this.#gathered * BLOCK;
    if (this.#written * BLOCK + end > this.#spaceUntil) {
      this.#requireSpace(end);
      this.#spaceUntil = this.#written * BLOCK + LOOK;
    }
    for (let at = 0; at < end; ) at += writeSync(this.#descriptor, this.#buffer, at, end - at);
    this.#written += this.#gathered;
    this.#gathered = 0;
  }

  /** Takes whole blocks: zeros are skipped, a span of others is copied at once. Returns where it came to. */
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
    const last = this.#runs.at(-1);
    if (last !== undefined && last[0] + last[2] === this.#fileBlock && last[1] + last[2] === dataBlock)
      last[2] += blocks;
    else this.#runs.push([this.#fileBlock, dataBlock, blocks]);
    this.#fileBlock += blocks;
    this.#gathered += blocks;
    if (this.#gathered === GATHER) this.flush();
  }
}

/** Whether the block of bytes from `at` on is of zeros. */
export function isZero(bytes: Buffer, at: number): boolean {
  // Nearly every block that holds something shows it in its first byte or its last, which spares the compare.
  return bytes[at] === 0 && bytes[at + BLOCK - 1] === 0 && bytes.compare(ZERO_BLOCK, 0, BLOCK, at, at + BLOCK) === 0;
}
