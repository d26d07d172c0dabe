import { RootfsError } from '../error.ts';
import { type PaxRecord, parsePax, parsePaxNumber } from './pax.ts';
import { type SparseMap, sparseMap } from './sparse.ts';
import {
  checksumHolds,
  isContentless,
  isZeroBlock,
  TAR_BLOCK,
  type TarHeader,
  tarHeader,
  tarName,
  tarNumber,
  tarSize,
  tarString,
  tarTarget,
  tarType,
} from './tar-header.ts';

/** What a tar says about an entry: its own header, and the uninterpreted extension headers before it. */
export interface TarEntry {
  readonly header: TarHeader;
  /** Bytes of content that follow in the tar. */
  readonly contentBytes: number;
  readonly pax: readonly PaxRecord[];
  /** Name and link target from GNU's long forms, else from PAX, else from the header: this precedence is that of Go's archive/tar. */
  readonly name: string;
  readonly target: string;
  /** The map of an old GNU sparse file (type `S`). */
  readonly sparse: SparseMap | undefined;
}

/** Receives the content of a tar in order: for each entry its header, its content in pieces of any length, and its end. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** The bytes belong to the reader, and are only valid during the call. */
  content(bytes: Buffer): void;
  end(): void;
}

/** Most bytes of an extension header, which is held in memory. Far above what any tool writes (Go's archive/tar accepts 1 MiB). */
const MAX_EXTENSION = 4 * 1024 * 1024;
const GNU_REALSIZE = 483;
const GNU_SPARSE = { offset: 386, entries: 4, extended: 482 } as const;
const GNU_SPARSE_EXTENSION = { offset: 0, entries: 21, extended: 504 } as const;
const SPARSE_NUMBER = 12;
/** Most numbers of a sparse map, which is held in memory: about what fits into the 16 MiB allowed for the map of a PAX 1.0 sparse file. */
const MAX_SPARSE_NUMBERS = 1_000_000;

type State = 'header' | 'extension' | 'sparse' | 'content' | 'padding' | 'end';

/**
 * Parses a tar (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"), including PAX and GNU
 * extension headers and sparse files. Calls its sink synchronously instead of making each entry a stream (see decision 013).
 */
export class TarReader {
  readonly #sink: TarSink;
  #state: State = 'header';
  /** The beginning of a header or extension body that spans several chunks. */
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  /** Bytes of content or padding still to come. */
  #remaining = 0;
  #padding = 0;
  /** Whether content and padding belong to an entry rather than to an extension header. */
  #isEntry = false;
  #extensionType = '';
  #extensionSize = 0;
  #zeroBlocks = 0;
  #pax: readonly PaxRecord[] = [];
  #longName: string | undefined;
  #longTarget: string | undefined;
  #sparseHeader: Buffer | undefined;
  #sparseNumbers: number[] = [];

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Parses the next bytes of the tar, of any length. @throws RootfsError `layer_corrupt`, or what the sink throws */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      switch (this.#state) {
        case 'header':
          at = this.#gather(chunk, at, TAR_BLOCK, (block) => this.#header(block));
          break;
        case 'sparse':
          at = this.#gather(chunk, at, TAR_BLOCK, (block) => this.#sparseExtension(block));
          break;
        case 'extension':
          at = this.#gather(chunk, at, this.#extensionSize, (body) => this.#extension(body));
          break;
        case 'content':
        case 'padding': {
          const end = Math.min(chunk.length, at + this.#remaining);
          if (this.#isEntry && this.#state === 'content') this.#sink.content(chunk.subarray(at, end));
          this.#remaining -= end - at;
          at = end;
          if (this.#remaining === 0) this.#afterContent();
          break;
        }
        case 'end':
          return;
      }
    }
  }

  /** Ends the tar. @throws RootfsError `layer_corrupt` when the last entry is incomplete */
  finish(): void {
    // Missing padding after the last entry does no harm.
    const isWhole =
      this.#state === 'end' || this.#state === 'padding' || (this.#state === 'header' && this.#gatheredBytes === 0);
    if (!isWhole)
      throw new RootfsError('layer_corrupt', 'the layer ends in the middle of an entry: its tar is cut short');
  }

  #gather(chunk: Buffer, at: number, wanted: number, then: (whole: Buffer) => void): number {
    const missing = wanted - this.#gatheredBytes;
    const part = chunk.subarray(at, at + missing);
    if (part.length < missing) {
      this.#gathered.push(Buffer.from(part));
      this.#gatheredBytes += part.length;
      return chunk.length;
    }
    const whole = this.#gatheredBytes === 0 ? part : Buffer.concat([...this.#gathered, part]);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    then(whole);
    return at + missing;
  }

  #header(header: Buffer): void {
    if (header[0] === 0 && isZeroBlock(header)) {
      this.#zeroBlocks++;
      // Two blocks of zeros end a tar; what follows only counts for its digest.
      if (this.#zeroBlocks === 2) this.#state = 'end';
      return;
    }
    if (this.#zeroBlocks > 0 || !checksumHolds(header)) {
      throw new RootfsError(
        'layer_corrupt',
        'the layer has a tar header whose checksum is wrong: it is not a tar, or damaged',
      );
    }
    const type = tarType(header);
    if ('xgXLKN'.includes(type)) {
      this.#beginExtension(type, tarSize(header));
    } else if (type === 'S') {
      this.#sparseHeader = Buffer.from(header);
      this.#sparseNumbers = sparseNumbers(header, GNU_SPARSE);
      if (header[GNU_SPARSE.extended]) this.#state = 'sparse';
      else this.#oldSparseEntry();
    } else {
      this.#plainEntry(header, type);
    }
  }

  #beginExtension(type: string, size: number): void {
    if (size > MAX_EXTENSION) {
      throw new RootfsError(
        'layer_corrupt',
        `the layer has an extended tar header of ${size} bytes; ${MAX_EXTENSION} is the limit`,
      );
    }
    this.#extensionType = type;
    this.#extensionSize = size;
    this.#padding = padding(size);
    if (size === 0) this.#extension(Buffer.alloc(0));
    else this.#state = 'extension';
  }

  #extension(body: Buffer): void {
    switch (this.#extensionType) {
      case 'x':
      case 'X':
        this.#pax = parsePax(body);
        break;
      case 'L':
      case 'N':
        this.#longName = tarString(body, 0, body.length);
        break;
      case 'K':
        this.#longTarget = tarString(body, 0, body.length);
        break;
      // As in Go's archive/tar, with which Docker and containerd read layers, a global header changes no entries, and discards what precedes it.
      case 'g':
        this.#forgetExtensions();
        break;
    }
    this.#beginContent(0, this.#padding, false);
  }

  #sparseExtension(block: Buffer): void {
    this.#sparseNumbers.push(...sparseNumbers(block, GNU_SPARSE_EXTENSION));
    if (this.#sparseNumbers.length > MAX_SPARSE_NUMBERS)
      throw new RootfsError('layer_corrupt', 'the layer has a sparse file whose map is too long');
    if (!block[GNU_SPARSE_EXTENSION.extended]) this.#oldSparseEntry();
  }

  #oldSparseEntry(): void {
    const header = this.#sparseHeader;
    if (header === undefined) throw new RootfsError('internal', 'a sparse map without a header');
    const sparse = sparseMap(tarNumber(header, GNU_REALSIZE, SPARSE_NUMBER), this.#sparseNumbers);
    const size = tarSize(header);
    this.#sparseHeader = undefined;
    this.#emit(header, '0', this.#name(header), size, sparse);
  }

  #plainEntry(header: Buffer, type: string): void {
    const stated = this.#stated('size');
    let size = tarSize(header);
    if (stated !== undefined) {
      const parsed = parsePaxNumber(stated);
      if (parsed === undefined) throw new RootfsError('layer_corrupt', 'the layer has an invalid PAX size');
      size = parsed;
    }
    if (isContentless(type)) size = 0;
    // The old format marks a directory only by a slash at the end of its name.
    const name = this.#name(header);
    if (type !== '\0') this.#emit(header, type, name, size, undefined);
    else if (name.endsWith('/')) this.#emit(header, '5', name, 0, undefined);
    else this.#emit(header, '0', name, size, undefined);
  }

  #name(header: Buffer): string {
    return this.#longName || this.#stated('path') || tarName(header);
  }

  /** The last value of a key in the PAX header; undefined where that is empty. */
  #stated(key: string): string | undefined {
    return this.#pax.findLast(([one]) => one === key)?.[1] || undefined;
  }

  #emit(header: Buffer, type: string, name: string, size: number, sparse: SparseMap | undefined): void {
    this.#sink.entry({
      header: tarHeader(header, type),
      contentBytes: size,
      pax: this.#pax,
      name,
      target: this.#longTarget || this.#stated('linkpath') || tarTarget(header),
      sparse,
    });
    this.#forgetExtensions();
    this.#beginContent(size, padding(size), true);
  }

  #forgetExtensions(): void {
    this.#pax = [];
    this.#longName = undefined;
    this.#longTarget = undefined;
  }

  #beginContent(size: number, padded: number, isEntry: boolean): void {
    this.#isEntry = isEntry;
    this.#padding = padded;
    this.#remaining = size;
    this.#state = 'content';
    if (size === 0) this.#afterContent();
  }

  #afterContent(): void {
    if (this.#state === 'content') {
      if (this.#isEntry) this.#sink.end();
      if (this.#padding > 0) {
        this.#state = 'padding';
        this.#remaining = this.#padding;
        return;
      }
    }
    this.#state = 'header';
  }
}

function padding(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

function sparseNumbers(block: Buffer, map: { readonly offset: number; readonly entries: number }): number[] {
  const numbers: number[] = [];
  for (let i = 0; i < map.entries; i++) {
    const at = map.offset + i * 2 * SPARSE_NUMBER;
    if (block[at] === 0 || block[at + SPARSE_NUMBER] === 0) break;
    numbers.push(tarNumber(block, at, SPARSE_NUMBER), tarNumber(block, at + SPARSE_NUMBER, SPARSE_NUMBER));
  }
  return numbers;
}
