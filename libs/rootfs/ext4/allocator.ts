import { RootfsError } from '../error.ts';

/** A run of consecutive blocks of the file system: the first one, and their number. */
export type BlockRun = readonly [start: number, blocks: number];

/**
 * Hands out the free blocks of a file system in ascending order. A "place" is a block's position in that order: the location of an
 * inode's blocks is then a single number, from which `runsAt` gives the actual blocks.
 */
export class BlockAllocator {
  readonly #free: readonly BlockRun[];
  /** The place at which each run of free blocks begins. */
  readonly #places: readonly number[];
  readonly #freeBlocks: number;
  #taken = 0;

  /** @param free runs of free blocks, ascending */
  constructor(free: readonly BlockRun[]) {
    const places: number[] = [];
    let place = 0;
    for (const [, blocks] of free) {
      places.push(place);
      place += blocks;
    }
    this.#free = free;
    this.#places = places;
    this.#freeBlocks = place;
  }

  get takenBlocks(): number {
    return this.#taken;
  }

  /**
   * Takes the next `blocks` free blocks, and returns the place of the first.
   *
   * @throws RootfsError `image_too_large` when there are not that many
   */
  take(blocks: number): number {
    if (this.#taken + blocks > this.#freeBlocks)
      throw new RootfsError(
        'image_too_large',
        'the image does not fit into a file system of this size; ask for a larger --size',
      );
    this.#taken += blocks;
    return this.#taken - blocks;
  }

  /** The blocks from a place on, in as few runs as possible. */
  *runsAt(place: number, blocks: number): Iterable<BlockRun> {
    let at = place;
    for (let run = this.#runAt(place); at < place + blocks; run++) {
      const [start, length] = this.#free[run] ?? [0, 0];
      const offset = at - (this.#places[run] ?? 0);
      const count = Math.min(length - offset, place + blocks - at);
      if (count <= 0) throw new RootfsError('internal', 'a place past the last free block');
      yield [start + offset, count];
      at += count;
    }
  }

  /** The block at a place. */
  blockAt(place: number): number {
    const run = this.#runAt(place);
    return (this.#free[run]?.[0] ?? 0) + place - (this.#places[run] ?? 0);
  }

  /** The last run that begins at or before a place. */
  #runAt(place: number): number {
    let [low, high] = [0, this.#places.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#places[middle] ?? 0) <= place) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
