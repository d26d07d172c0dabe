import { RootfsError } from '../error.ts';
import { parsePaxNumber } from './pax.ts';
import { type SparseMap, sparseMap } from './sparse.ts';
import { TAR_BLOCK } from './tar-header.ts';

/** Most bytes of the map at the start of a sparse file, and of a line in it. */
const MAX_MAP = 16 * 1024 * 1024;
const MAX_LINE = 32;
const LINE_END = 0x0a;

/**
 * Parses the map at the start of a PAX 1.0 sparse file: decimal numbers on lines, the number of fragments first, padded to a tar block.
 * Each byte is read only once, however small the pieces in which they arrive.
 */
export class SparseMapReader {
  readonly #size: number;
  readonly #numbers: number[] = [];
  #count: number | undefined;
  #line = '';
  #bytes = 0;

  constructor(size: number) {
    this.#size = size;
  }

  /** The map, once all of its lines are read. @throws RootfsError `layer_corrupt` */
  get map(): SparseMap {
    return sparseMap(this.#size, this.#numbers);
  }

  /** Takes the next bytes. Returns those after the map, once it is complete. @throws RootfsError `layer_corrupt` */
  push(bytes: Buffer): Buffer | undefined {
    let at = 0;
    while (at < bytes.length && !this.#hasAllLines) at = this.#takeLine(bytes, at);
    this.#bytes += at;
    if (this.#bytes > MAX_MAP)
      throw new RootfsError('layer_corrupt', 'the layer has a sparse file whose map is too long');
    if (!this.#hasAllLines) return undefined;
    const padding = (TAR_BLOCK - (this.#bytes % TAR_BLOCK)) % TAR_BLOCK;
    const skipped = Math.min(padding, bytes.length - at);
    this.#bytes += skipped;
    return skipped === padding ? bytes.subarray(at + skipped) : undefined;
  }

  get #hasAllLines(): boolean {
    return this.#count !== undefined && this.#numbers.length === 2 * this.#count;
  }

  /** Takes a line, or as much of it as there is. Returns the offset that it got to. */
  #takeLine(bytes: Buffer, from: number): number {
    const end = bytes.indexOf(LINE_END, from);
    const to = end < 0 ? bytes.length : end;
    if (this.#line.length + to - from >= MAX_LINE) throw noMap();
    this.#line += bytes.toString('latin1', from, to);
    if (end < 0) return to;
    const number = parsePaxNumber(this.#line);
    if (number === undefined) throw noMap();
    this.#line = '';
    if (this.#count === undefined) this.#count = number;
    else this.#numbers.push(number);
    return end + 1;
  }
}

function noMap(): RootfsError {
  return new RootfsError('layer_corrupt', 'the layer has a sparse file with an invalid map');
}
