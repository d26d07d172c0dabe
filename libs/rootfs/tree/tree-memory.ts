import { giveBack } from '../layer/chunk-memory.ts';

/** Bytes that are allocated piece by piece: most trees need no more. */
const SMALL = 4 * 1024 * 1024;
/**
 * Bytes of each allocation after that. glibc always maps allocations of over 32 MiB on their own, and pages that are never written take no
 * memory (mallopt(3), M_MMAP_THRESHOLD). Smaller ones stay with their thread's arena once freed: a worker whose threads had each built an
 * image of 500,000 files held 100 MB more.
 */
const SLAB = 40 * 1024 * 1024;

/** The memory of a tree's columns, or of its strings. It is freed all at once. */
export class TreeMemory {
  #small: Uint8Array[] = [];
  #smallBytes = 0;
  readonly #slabs: Uint8Array[] = [];
  #used = SLAB;

  /** Allocates zeroed bytes: a multiple of eight, at most some hundred KiB. */
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

  /** Frees everything allocated; its buffers are empty afterwards. */
  release(): void {
    for (const piece of [...this.#small.splice(0), ...this.#slabs.splice(0)]) giveBack(piece);
    this.#smallBytes = 0;
    this.#used = SLAB;
  }
}
