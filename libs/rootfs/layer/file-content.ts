import { RootfsError } from '../error.ts';
import type { DataRuns } from './entry.ts';
import type { LayerData } from './layer-data.ts';
import { quote } from './path.ts';
import type { SparseMap } from './sparse.ts';
import { SparseMapReader } from './sparse-map-reader.ts';
import type { EntryHeader } from './tar-entry.ts';

/** Appends the content of one file, as its tar stores it, to the layer's data, restoring the holes of a sparse one. */
export class FileContent {
  readonly #data: LayerData;
  readonly #header: EntryHeader;
  #sparse: SparseMap | undefined;
  #mapReader: SparseMapReader | undefined;
  #fragment = 0;
  /** Bytes of the file that are appended so far, including holes. */
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

  /** Ends the file and returns its runs. @throws RootfsError `layer_corrupt` when it has less data than its header or map states */
  end(): DataRuns {
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
