import { RootfsError } from '../error.ts';
import { TreeMemory } from './tree-memory.ts';

/** Bytes of the strings of one image that are held in memory: names and symlinks' targets. */
const MAX_BYTES = 2 ** 30;
/** A chunk has 256 KiB: the longest string fits. */
const CHUNK_BITS = 18;
const CHUNK = 2 ** CHUNK_BITS;
const CHUNK_MASK = CHUNK - 1;
/** Bytes before each string: its length. */
const LENGTH = 2;

/**
 * Byte strings of up to 65,535 bytes, each known by its offset, one after the other in chunks, none of them in two. In one buffer that
 * grows, the names of 500,000 files took twice their memory while it grew.
 */
export class ByteStrings {
  readonly #memory = new TreeMemory();
  readonly #chunks: Buffer[] = [];
  #end = 0;
  #dropped = 0;

  /** The bytes of a string are `lengthOf` from `startOf` on in the chunk that has it. */
  chunkOf(at: number): Buffer {
    return this.#chunks[at >>> CHUNK_BITS] ?? NO_CHUNK;
  }

  /** Bytes that all of them take. */
  get bytes(): number {
    return this.#end;
  }

  /** Whether more than half of the bytes are of strings that were dropped. */
  get wasteful(): boolean {
    return this.#end > CHUNK && this.#dropped > this.#end / 2;
  }

  /** @throws RootfsError `image_too_large` when there are more than can be held */
  add(text: string): number {
    const at = this.#reserve(text.length);
    const chunk = this.chunkOf(at);
    const start = this.startOf(at);
    // Most are short: a call out of JavaScript for each takes longer than this.
    for (let i = 0; i < text.length; i++) chunk[start + i] = text.charCodeAt(i);
    return at;
  }

  /** Adds a string of another list. */
  addFrom(others: ByteStrings, other: number): number {
    const length = others.lengthOf(other);
    const at = this.#reserve(length);
    const start = others.startOf(other);
    others.chunkOf(other).copy(this.chunkOf(at), this.startOf(at), start, start + length);
    return at;
  }

  /** Says that a string is not asked for any more. */
  drop(at: number): void {
    this.#dropped += LENGTH + this.lengthOf(at);
  }

  /** Gives the memory of all of them back. */
  release(): void {
    this.#chunks.length = 0;
    this.#memory.release();
  }

  startOf(at: number): number {
    return (at & CHUNK_MASK) + LENGTH;
  }

  lengthOf(at: number): number {
    const chunk = this.chunkOf(at);
    const offset = at & CHUNK_MASK;
    return (chunk[offset] ?? 0) | ((chunk[offset + 1] ?? 0) << 8);
  }

  /** The string, one character a byte. */
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
