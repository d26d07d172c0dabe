import type { BlockRun } from './allocator.ts';

/** A bit for each block of the whole file system, or for each inode of a group, set when that is in use. */
export class Bitmap {
  readonly bytes: Buffer;
  readonly #count: number;

  /** @param unit the bits after the first `count`, up to a multiple of this, are set */
  constructor(count: number, unit: number) {
    const padded = Math.ceil(count / unit) * unit;
    this.bytes = Buffer.alloc(padded / 8);
    this.#count = count;
    this.set(count, padded - count);
  }

  set(start: number, count: number): void {
    this.#fill(start, count, true);
  }

  clear(start: number, count: number): void {
    this.#fill(start, count, false);
  }

  /** What is free, as ascending runs. */
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
        const number = at * 8 + bit;
        if (!isFree) runs.push([start, number - start]);
        start = isFree ? number : -1;
      }
    }
    if (start >= 0) runs.push([start, this.#count - start]);
    return runs;
  }

  /** How many are in use among `count` from `from` on; both are multiples of 8. */
  countUsed(from: number, count: number): number {
    let used = 0;
    const end = byteOf(from + count);
    for (let at = byteOf(from); at < end; at++) used += BITS[this.bytes[at] ?? 0] ?? 0;
    return used;
  }

  #fill(start: number, count: number, value: boolean): void {
    const end = start + count;
    for (let at = start; at < end; ) {
      if ((at & 7) === 0 && end - at >= 8) {
        const whole = byteOf(end - at);
        this.bytes.fill(value ? 0xff : 0, byteOf(at), byteOf(at) + whole);
        at += whole * 8;
        continue;
      }
      const byte = this.bytes[byteOf(at)] ?? 0;
      const bit = 1 << (at & 7);
      this.bytes[byteOf(at)] = value ? byte | bit : byte & ~bit;
      at++;
    }
  }
}

/** Without `>>`, which is signed: block numbers have 32 bits. */
function byteOf(number: number): number {
  return Math.floor(number / 8);
}

const BITS = Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);
