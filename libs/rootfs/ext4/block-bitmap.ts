import type { BlockRun } from './allocator.ts';

/** A bit for each block of the whole file system, set when the block is in use. */
export class BlockBitmap {
  readonly bytes: Buffer;
  readonly blocks: number;

  /** @param groupBlocks blocks per group; the bits past the end, up to a whole group, are set */
  constructor(blocks: number, groupBlocks: number) {
    const padded = Math.ceil(blocks / groupBlocks) * groupBlocks;
    this.bytes = Buffer.alloc(padded / 8);
    this.blocks = blocks;
    this.set(blocks, padded - blocks);
  }

  set(start: number, count: number): void {
    this.#fill(start, count, true);
  }

  clear(start: number, count: number): void {
    this.#fill(start, count, false);
  }

  /** Free blocks as ascending runs. */
  freeRuns(): BlockRun[] {
    const runs: BlockRun[] = [];
    const { buffer, byteOffset, length } = this.bytes;
    const words = new Int32Array(buffer, byteOffset, length >> 2);
    let start = -1;
    for (let at = 0; at < length; at++) {
      // Most words, and bytes, just continue the current run.
      if ((at & 3) === 0 && words[at >> 2] === (start < 0 ? -1 : 0)) {
        at += 3;
        continue;
      }
      const byte = this.bytes[at] ?? 0xff;
      if (byte === (start < 0 ? 0xff : 0)) continue;
      for (let bit = 0; bit < 8; bit++) {
        const isFree = (byte & (1 << bit)) === 0;
        if (isFree === start >= 0) continue;
        const block = at * 8 + bit;
        if (!isFree) runs.push([start, block - start]);
        start = isFree ? block : -1;
      }
    }
    if (start >= 0) runs.push([start, this.blocks - start]);
    return runs;
  }

  /** Number of blocks in use among `count` from `from` on; both are multiples of 8. */
  countUsed(from: number, count: number): number {
    let used = 0;
    const end = byteOf(from + count);
    for (let at = byteOf(from); at < end; at++) used += BITS[this.bytes[at] ?? 0] ?? 0;
    return used;
  }

  #fill(start: number, count: number, value: boolean): void {
    const end = start + count;
    for (let block = start; block < end; ) {
      if ((block & 7) === 0 && end - block >= 8) {
        const whole = byteOf(end - block);
        this.bytes.fill(value ? 0xff : 0, byteOf(block), byteOf(block) + whole);
        block += whole * 8;
        continue;
      }
      const byte = this.bytes[byteOf(block)] ?? 0;
      const bit = 1 << (block & 7);
      this.bytes[byteOf(block)] = value ? byte | bit : byte & ~bit;
      block++;
    }
  }
}

/** Without `>>`, which is signed: block numbers have 32 bits. */
function byteOf(block: number): number {
  return Math.floor(block / 8);
}

const BITS = Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);
