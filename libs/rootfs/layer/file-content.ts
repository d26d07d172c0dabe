import { RootfsError } from '../error.ts';
import type { DataRun } from './entry.ts';
import type { LayerData } from './layer-data.ts';
import { quote } from './path.ts';
import { type SparseMap, sparseMap } from './sparse.ts';
import type { EntryHeader } from './tar-entry.ts';
import { TAR_BLOCK } from './tar-header.ts';

/** Takes the content of one file as its tar holds it, puts back the holes of a sparse one, and appends it to the layer's data. */
export class FileContent {
  readonly #data: LayerData;
  readonly #header: EntryHeader;
  #sparse: SparseMap | undefined;
  #mapReader: SparseMapReader | undefined;
  #fragment = 0;
  /** Bytes of the file, holes included, that are appended. */
  #position = 0;

  constructor(data: LayerData, header: EntryHeader) {
    this.#data = data;
    this.#header = header;
    this.#sparse = header.sparse;
    this.#mapReader = header.sparseMapInContent ? new SparseMapReader(header.size) : undefined;
  }

  append(bytes: Buffer): void {
    if (this.#mapReader !== undefined) {
      const rest = this.#mapReader.push(bytes);
      if (rest === undefined) return;
      this.#sparse = this.#mapReader.map;
      this.#mapReader = undefined;
      this.append(rest);
    } else if (this.#sparse === undefined) {
      this.#data.append(bytes);
      this.#position += bytes.length;
    } else {
      this.#appendFragments(bytes, this.#sparse);
    }
  }

  /** @throws RootfsError `layer_corrupt` when a sparse file lacks data that its map promises */
  end(): DataRun[] {
    const whole =
      this.#sparse === undefined
        ? this.#position === this.#header.size
        : this.#fragment === this.#sparse.fragments.length;
    if (this.#mapReader !== undefined || !whole) {
      throw new RootfsError(
        'layer_corrupt',
        `the layer's entry ${quote(this.#header.path)} has less data than it says`,
      );
    }
    this.#data.skip(this.#header.size - this.#position);
    return this.#data.endFile();
  }

  #appendFragments(bytes: Buffer, sparse: SparseMap): void {
    let at = 0;
    while (at < bytes.length) {
      const fragment = sparse.fragments[this.#fragment];
      // The padding after the last fragment.
      if (fragment === undefined) return;
      if (this.#position < fragment.offset) {
        this.#data.skip(fragment.offset - this.#position);
        this.#position = fragment.offset;
      }
      const end = fragment.offset + fragment.length;
      const part = bytes.subarray(at, at + end - this.#position);
      this.#data.append(part);
      this.#position += part.length;
      at += part.length;
      if (this.#position === end) this.#fragment++;
    }
  }
}

/** The map at the start of a PAX 1.0 sparse file: decimal lines, the count of fragments first, padded to a tar block. */
class SparseMapReader {
  readonly #size: number;
  #text = '';
  #map: SparseMap | undefined;

  constructor(size: number) {
    this.#size = size;
  }

  get map(): SparseMap | undefined {
    return this.#map;
  }

  /** The bytes after the map, once it is read whole. */
  push(bytes: Buffer): Buffer | undefined {
    const before = this.#text.length;
    this.#text += bytes.toString('latin1');
    if (this.#text.length > 16 * 1024 * 1024)
      throw new RootfsError('layer_corrupt', 'the layer has a sparse file with an endless map');
    const lines = this.#text.split('\n');
    const count = Number(lines[0]);
    if (lines.length === 1) return undefined;
    if (!Number.isSafeInteger(count) || count < 0)
      throw new RootfsError('layer_corrupt', 'the layer has a sparse file with a map that is none');
    if (lines.length <= 1 + 2 * count) return undefined;
    const used = lines.slice(0, 1 + 2 * count);
    const length = used.reduce((sum, line) => sum + line.length + 1, 0);
    const padded = Math.ceil(length / TAR_BLOCK) * TAR_BLOCK;
    if (this.#text.length < padded) return undefined;
    this.#map = sparseMap(this.#size, used.slice(1).map(Number));
    return bytes.subarray(padded - before);
  }
}
