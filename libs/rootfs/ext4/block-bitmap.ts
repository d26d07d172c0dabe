import type { BlockRun } from './allocator.ts';

/** A bit a block of the whole file system: set when it is in use. */
export class BlockBitmap {
  readonly bytes: Buffer;
  readonly blocks: number;

  /** @param groupBlocks blocks of a group; the bits past the end, up to a whole group, are set */
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
    let start = -1;
    for (let block = 0; block <= this.blocks; block++) {
      const byte = this.bytes[block >> 3] ?? 0xff;
      if (start >= 0 && byte === 0 && (block & 7) === 0 && block + 8 <= this.blocks) {
        block += 7;
        continue;
      }
      const free = block < this.blocks && (byte & (1 << (block & 7))) === 0;
      if (free && start < 0) start = block;
      if (!free && start >= 0) {
        runs.push([start, block - start]);
        start = -1;
      }
    }
    return runs;
  }

  /** Blocks in use from `from` on. */
  countUsed(from: number, count: number): number {
    let used = 0;
    for (let at = from >> 3; at < (from + count) >> 3; at++) used += BITS[this.bytes[at] ?? 0] ?? 0;
    return used;
  }

  #fill(start: number, count: number, value: boolean): void {
    const end = start + count;
    for (let block = start; block < end; ) {
      if ((block & 7) === 0 && end - block >= 8) {
        const whole = (end - block) >> 3;
        this.bytes.fill(value ? 0xff : 0, block >> 3, (block >> 3) + whole);
        block += whole * 8;
        continue;
      }
      const byte = this.bytes[block >> 3] ?? 0;
      const bit = 1 << (block & 7);
      this.bytes[block >> 3] = value ? byte | bit : byte & ~bit;
      block++;
    }
  }
}

const BITS = Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);
