import { giveBack } from '../layer/chunk-memory.ts';

/** Bytes that are taken piece by piece: most trees need no more. */
const SMALL = 4 * 1024 * 1024;
/**
 * Bytes of what is taken from the system at once after that. glibc maps what is larger than 32 MiB by itself, always, and what is never
 * written takes no memory (mallopt(3), M_MMAP_THRESHOLD). What is smaller stays with the thread that had it when it is free again: a worker
 * whose threads had each built an image of 500,000 files held 100 MB more.
 */
const SLAB = 40 * 1024 * 1024;

/** The memory of a tree's columns, or of its strings. It goes back to the system all at once. */
export class TreeMemory {
  #small: Uint8Array[] = [];
  #smallBytes = 0;
  readonly #slabs: Uint8Array[] = [];
  #used = SLAB;

  /** So many bytes of zeros: a multiple of eight, and no more than some hundred KiB. */
  take(bytes: number): { readonly buffer: ArrayBufferLike; readonly offset: number } {
    if (this.#smallBytes + bytes <= SMALL) {
      const piece = new Uint8Array(bytes);
      this.#small.push(piece);
      this.#smallBytes += bytes;
      return { buffer: piece.buffer, offset: 0 };
    }
    if (this.#used + bytes > SLAB) {
      this.#slabs.push(new Uint8Array(SLAB));
      this.#used = 0;
    }
    const offset = this.#used;
    this.#used += bytes;
    const { buffer } = this.#slabs.at(-1) ?? new Uint8Array(bytes);
    return { buffer, offset };
  }

  /** All that was taken is empty afterwards. */
  release(): void {
    for (const piece of [...this.#small.splice(0), ...this.#slabs.splice(0)]) giveBack(piece);
    this.#smallBytes = 0;
    this.#used = SLAB;
  }
}
