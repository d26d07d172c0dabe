import { RootfsError } from '../error.ts';

/** Bytes of the strings of one image that are held in memory: names and symlinks' targets. */
const MAX_BYTES = 2 ** 30;
const FIRST = 64 * 1024;
/** Bytes before each string: its length. */
const LENGTH = 2;

/** Byte strings of up to 65,535 bytes, one after the other in one buffer; each is known by its offset. */
export class ByteStrings {
  #buffer = Buffer.allocUnsafeSlow(FIRST);
  #end = 0;
  #dropped = 0;

  /** The bytes of all of them; those of a string are `lengthOf` from `startOf` on. Another buffer after each `add`. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  /** Whether more than half of the bytes are of strings that were dropped. */
  get wasteful(): boolean {
    return this.#end > FIRST && this.#dropped > this.#end / 2;
  }

  /** @throws RootfsError `image_too_large` when there are more than can be held */
  add(text: string): number {
    const at = this.#reserve(text.length);
    const start = at + LENGTH;
    // Most are short: a call out of JavaScript for each takes longer than this.
    for (let i = 0; i < text.length; i++) this.#buffer[start + i] = text.charCodeAt(i);
    return at;
  }

  /** Adds a string of another list. */
  addFrom(others: ByteStrings, other: number): number {
    const length = others.lengthOf(other);
    const at = this.#reserve(length);
    others.#buffer.copy(this.#buffer, at + LENGTH, other + LENGTH, other + LENGTH + length);
    return at;
  }

  /** Says that a string is not asked for any more. */
  drop(at: number): void {
    this.#dropped += LENGTH + this.lengthOf(at);
  }

  startOf(at: number): number {
    return at + LENGTH;
  }

  lengthOf(at: number): number {
    return (this.#buffer[at] ?? 0) | ((this.#buffer[at + 1] ?? 0) << 8);
  }

  /** The string, one character a byte. */
  textOf(at: number): string {
    return this.#buffer.toString('latin1', at + LENGTH, at + LENGTH + this.lengthOf(at));
  }

  isText(at: number, text: string): boolean {
    if (this.lengthOf(at) !== text.length) return false;
    for (let i = 0; i < text.length; i++) if (this.#buffer[at + LENGTH + i] !== text.charCodeAt(i)) return false;
    return true;
  }

  #reserve(length: number): number {
    const at = this.#end;
    this.#end += LENGTH + length;
    if (this.#end > MAX_BYTES)
      throw new RootfsError('image_too_large', `the names in the image take more than ${MAX_BYTES} bytes`);
    if (this.#end > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.ceil(this.#end * 1.5));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#buffer.writeUInt16LE(length, at);
    return at;
  }
}
