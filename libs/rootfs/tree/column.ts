import type { TreeMemory } from './tree-memory.ts';

/** A chunk has 2 ** 14 values. */
const CHUNK_BITS = 14;
const CHUNK = 2 ** CHUNK_BITS;
const CHUNK_MASK = CHUNK - 1;

/**
 * A growing list of unsigned 32-bit numbers, four bytes each. The tables of a tree consist of these: as an object, each of 500,000
 * inodes took over a kilobyte, and the garbage collector traversed all of them again and again. It grows by chunks, since arrays
 * replaced by larger ones stay in memory until they are collected (a third of the peak).
 */
export class Uint32Column {
  readonly #chunks: Uint32Array[] = [];
  readonly #memory: TreeMemory;

  constructor(memory: TreeMemory) {
    this.#memory = memory;
  }

  /** The value at an index; 0 where none was set. */
  get(at: number): number {
    return this.#chunks[at >>> CHUNK_BITS]?.[at & CHUNK_MASK] ?? 0;
  }

  set(at: number, value: number): void {
    while (at >>> CHUNK_BITS >= this.#chunks.length) this.#grow();
    const chunk = this.#chunks[at >>> CHUNK_BITS];
    if (chunk !== undefined) chunk[at & CHUNK_MASK] = value;
  }

  #grow(): void {
    const { buffer, offset } = this.#memory.take(CHUNK * Uint32Array.BYTES_PER_ELEMENT);
    this.#chunks.push(new Uint32Array(buffer, offset, CHUNK));
  }
}

/** A growing list of doubles, eight bytes each; see `Uint32Column`. */
export class Float64Column {
  readonly #chunks: Float64Array[] = [];
  readonly #memory: TreeMemory;

  constructor(memory: TreeMemory) {
    this.#memory = memory;
  }

  get(at: number): number {
    return this.#chunks[at >>> CHUNK_BITS]?.[at & CHUNK_MASK] ?? 0;
  }

  set(at: number, value: number): void {
    while (at >>> CHUNK_BITS >= this.#chunks.length) this.#grow();
    const chunk = this.#chunks[at >>> CHUNK_BITS];
    if (chunk !== undefined) chunk[at & CHUNK_MASK] = value;
  }

  #grow(): void {
    const { buffer, offset } = this.#memory.take(CHUNK * Float64Array.BYTES_PER_ELEMENT);
    this.#chunks.push(new Float64Array(buffer, offset, CHUNK));
  }
}
