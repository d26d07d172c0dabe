import { RootfsError } from '../error.ts';
import { TreeMemory } from './tree-memory.ts';

/** Most bytes of strings held in memory for one image: names and symlink targets. */
const MAX_BYTES = 2 ** 30;
/** A chunk has 256 KiB, so that the longest string fits. */
const CHUNK_BITS = 18;
const CHUNK = 2 ** CHUNK_BITS;
const CHUNK_MASK = CHUNK - 1;
/** Bytes of the length that precedes each string. */
const LENGTH = 2;

/**
 * Byte strings of up to 65,535 bytes, each identified by its offset, stored one after the other in chunks; none spans two. With one
 * growing buffer, the names of 500,000 files took twice their memory while it grew.
 */
export class ByteStrings {
  readonly #memory = new TreeMemory();
  readonly #chunks: Buffer[] = [];
  #end = 0;
  #dropped = 0;

  /** The chunk that holds a string: `lengthOf` bytes from `startOf` on. */
  chunkOf(at: number): Buffer {
    return this.#chunks[at >>> CHUNK_BITS] ?? NO_CHUNK;
  }

  /** Bytes that all strings take, dropped ones included. */
  get bytes(): number {
    return this.#end;
  }

  /** Whether more than half of the bytes belong to dropped strings. */
  get wasteful(): boolean {
    return this.#end > CHUNK && this.#dropped > this.#end / 2;
  }

  /** Adds a byte string (one character per byte) and returns its offset. @throws RootfsError `image_too_large` when there are too many */
  add(text: string): number {
    const at = this.#reserve(text.length);
    const chunk = this.chunkOf(at);
    const start = this.startOf(at);
    // Most strings are short, for which a native call takes longer than this loop.
    for (let i = 0; i < text.length; i++) chunk[start + i] = text.charCodeAt(i);
    return at;
  }

  /** Adds a string of another list and returns its new offset. */
  addFrom(others: ByteStrings, other: number): number {
    const length = others.lengthOf(other);
    const at = this.#reserve(length);
    const start = others.startOf(other);
    others.chunkOf(other).copy(this.chunkOf(at), this.startOf(at), start, start + length);
    return at;
  }

  /** Marks a string as no longer used. */
  drop(at: number): void {
    this.#dropped += LENGTH + this.lengthOf(at);
  }

  /** Frees the memory of all strings. */
  release(): void {
    this.#chunks.length = 0;
    this.#memory.release();
  }

  /** Where a string's bytes start in its chunk. */
  startOf(at: number): number {
    return (at & CHUNK_MASK) + LENGTH;
  }

  /** Bytes of a string. */
  lengthOf(at: number): number {
    const chunk = this.chunkOf(at);
    const offset = at & CHUNK_MASK;
    return (chunk[offset] ?? 0) | ((chunk[offset + 1] ?? 0) << 8);
  }

  /** A string, one character per byte. */
  textOf(at: number): string {
    const start = this.startOf(at);
    return this.chunkOf(at).toString('latin1', start, start + this.lengthOf(at));
  }

  isText(at: number, text: string): boolean {
    if (this.lengthOf(at) !== text.length) return false;
    const chunk = this.chunkOf(at);
    const start = this.startOf(at);
    for (let i = 0; i < text.length; i++) if (chunk[start + i] !== text.charCodeAt(i)) return false;
    return true;
  }

  #reserve(length: number): number {
    const room = CHUNK - (this.#end & CHUNK_MASK);
    const at = LENGTH + length > room ? this.#end + room : this.#end;
    this.#end = at + LENGTH + length;
    if (this.#end > MAX_BYTES)
      throw new RootfsError('image_too_large', `the names in the image take more than ${MAX_BYTES} bytes`);
    if (at >>> CHUNK_BITS === this.#chunks.length) this.#grow();
    this.chunkOf(at).writeUInt16LE(length, at & CHUNK_MASK);
    return at;
  }

  #grow(): void {
    const { buffer, offset } = this.#memory.take(CHUNK);
    this.#chunks.push(Buffer.from(buffer, offset, CHUNK));
  }
}

const NO_CHUNK = Buffer.alloc(0);
