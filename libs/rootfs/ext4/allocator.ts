import { RootfsError } from '../error.ts';

/** A run of blocks of the file system: its first block and their number. */
export type BlockRun = readonly [start: number, blocks: number];

/** Hands out the free blocks of a file system in ascending order, and remembers which it took. */
export class BlockAllocator {
  readonly #free: readonly BlockRun[];
  readonly #taken: [number, number][] = [];
  #run = 0;
  #offset = 0;
  #takenBlocks = 0;

  /** @param free runs of free blocks, ascending */
  constructor(free: readonly BlockRun[]) {
    this.#free = free;
  }

  get takenBlocks(): number {
    return this.#takenBlocks;
  }

  /** What was handed out, as runs. */
  get taken(): readonly BlockRun[] {
    return this.#taken;
  }

  /**
   * The next `blocks` free blocks, in as few runs as the gaps allow.
   *
   * @throws RootfsError `image_too_large` when there are not that many
   */
  take(blocks: number): BlockRun[] {
    const runs: BlockRun[] = [];
    let left = blocks;
    while (left > 0) {
      const free = this.#free[this.#run];
      if (free === undefined)
        throw new RootfsError(
          'image_too_large',
          'the image does not fit into a file system of this size; ask for a larger --size',
        );
      const count = Math.min(left, free[1] - this.#offset);
      if (count === 0) {
        this.#run++;
        this.#offset = 0;
        continue;
      }
      const start = free[0] + this.#offset;
      runs.push([start, count]);
      this.#remember(start, count);
      this.#offset += count;
      left -= count;
    }
    this.#takenBlocks += blocks;
    return runs;
  }

  #remember(start: number, count: number): void {
    const last = this.#taken.at(-1);
    if (last !== undefined && last[0] + last[1] === start) last[1] += count;
    else this.#taken.push([start, count]);
  }
}
