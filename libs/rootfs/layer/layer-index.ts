import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import * as z from 'zod';
import { damagedLayer, layerReadFailure, RootfsError } from '../error.ts';
import { formatEntry, type LayerEntry, parseEntry } from './entry.ts';
import { BLOCK } from './layer-data.ts';
import { LAYER_FORMAT } from './layer-format.ts';
import { DEFAULT_LIMITS, type LayerLimits } from './limits.ts';

/** Names of the two files of a layer in the cache. */
export const INDEX_FILE = 'index';
export const DATA_FILE = 'data';

/** Bytes gathered for one write, and bytes of one read. */
const FLUSH = 512 * 1024;
const header = z.object({ format: z.literal(LAYER_FORMAT), diffId: z.string() });

/** The last line: the CRC-32 of all bytes before it. */
const lastLine = z.object({ checksum: z.number() });
/** Bytes; more than the last line has. */
const TAIL = 64;

/** Writes a layer's index: a header line, a line per entry in the order of the tar, and a last line with a checksum. */
export class LayerIndexWriter {
  readonly #descriptor: number;
  #lines: string[] = [];
  #entries = 0;
  #bytes = 0;
  #gathered = 0;
  #checksum = 0;
  readonly #limits: Pick<LayerLimits, 'entries' | 'indexBytes'>;

  constructor(directory: string, diffId: string, limits: Pick<LayerLimits, 'entries' | 'indexBytes'> = DEFAULT_LIMITS) {
    this.#limits = limits;
    this.#descriptor = openSync(join(directory, INDEX_FILE), 'w', 0o600);
    this.#lines.push(JSON.stringify({ format: LAYER_FORMAT, diffId }));
  }

  get entries(): number {
    return this.#entries;
  }

  /** Adds an entry. @throws RootfsError `layer_too_large` when there are too many entries, or too many bytes of them */
  add(entry: Omit<LayerEntry, 'runs'>, runs: LayerEntry['runs']): void {
    const line = formatEntry(entry, runs);
    this.#lines.push(line);
    this.#entries++;
    this.#bytes += line.length;
    this.#gathered += line.length;
    if (this.#entries > this.#limits.entries)
      throw new RootfsError(
        'layer_too_large',
        `a layer has more entries than ${this.#limits.entries}, which is the limit`,
      );
    if (this.#bytes > this.#limits.indexBytes) {
      throw new RootfsError(
        'layer_too_large',
        `the names and attributes of a layer take more than ${this.#limits.indexBytes} bytes, which is the limit`,
      );
    }
    if (this.#gathered >= FLUSH) this.#flush();
  }

  /** Writes the rest and closes the file, even if writing fails. */
  close(): void {
    try {
      this.#flush();
      this.#lines.push(JSON.stringify({ checksum: this.#checksum }));
      this.#flush();
    } finally {
      closeSync(this.#descriptor);
    }
  }

  #flush(): void {
    if (this.#lines.length === 0) return;
    const bytes = Buffer.from(`${this.#lines.join('\n')}\n`, 'latin1');
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    this.#checksum = crc32(bytes, this.#checksum);
    this.#lines = [];
    this.#gathered = 0;
  }
}

export interface LayerIndex {
  /** `sha256:<hex>` of the layer's tar. */
  readonly diffId: string;
  /** In the order of the tar; can be iterated once. */
  readonly entries: Iterable<LayerEntry>;
}

/**
 * Reads the index of a layer in the cache, piece by piece: with 500,000 entries it has 60 MB.
 *
 * @throws RootfsError `layer_damaged`, here or while iterating over the entries, when the index is not what was written, or the data that
 * it refers to is incomplete
 */
export function readLayerIndex(directory: string): LayerIndex {
  for (const line of readLines(directory)) {
    const parsed = header.safeParse(parseJson(line));
    if (!parsed.success) break;
    requireIntact(directory);
    return { diffId: parsed.data.diffId, entries: parseEntries(directory) };
  }
  throw damagedLayer(directory, 'its index was not written by this version');
}

/**
 * Compares the index with its checksum before any of it is used: a wrong bit of a disk makes another path or mode, and a merge that fails by
 * it would blame the image. Reading the index once more takes 1 ms per MB.
 */
function requireIntact(directory: string): void {
  let checksum = 0;
  let tail = '';
  for (const bytes of readPieces(directory)) {
    checksum = crc32(bytes, checksum);
    tail = (tail + bytes.toString('latin1', Math.max(0, bytes.length - TAIL))).slice(-TAIL);
  }
  const last = tail.slice(tail.lastIndexOf('\n', tail.length - 2) + 1);
  const stated = lastLine.safeParse(parseJson(last)).data?.checksum;
  // The checksum of all bytes is that of the bytes before the last line, continued over that line.
  if (stated === undefined || crc32(last, stated) !== checksum)
    throw damagedLayer(directory, 'its index is not what was written');
}

/** Whether the first line of an index says that it has this version's format. */
export function isIndexHeader(line: string): boolean {
  return header.safeParse(parseJson(line)).success;
}

/** Undefined for invalid JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function* parseEntries(directory: string): Iterable<LayerEntry> {
  const dataBlocks = statSync(join(directory, DATA_FILE)).size / BLOCK;
  for (const line of readLines(directory)) {
    // The first line and the last one are objects.
    if (!line.startsWith('{')) yield entryIn(line, directory, dataBlocks);
  }
}

function entryIn(line: string, directory: string, dataBlocks: number): LayerEntry {
  const entry = parseEntry(parseJson(line));
  if (entry === undefined) throw damagedLayer(directory, 'a line of its index is not an entry');
  const { runs } = entry;
  for (let at = 0; at < runs.length; at += 3) {
    const [from = 0, blocks = 0] = [runs[at + 1], runs[at + 2]];
    if (from + blocks > dataBlocks) throw damagedLayer(directory, 'its data is shorter than its index says');
  }
  return entry;
}

function* readLines(directory: string): Generator<string, void, undefined> {
  let line = '';
  for (const bytes of readPieces(directory)) {
    const text = bytes.toString('latin1');
    let at = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
      yield line + text.slice(at, end);
      line = '';
      at = end + 1;
    }
    // Not searched again: a file with many runs has a line of many pieces.
    line += text.slice(at);
  }
}

/** The bytes of the index; each piece is valid only until the next one is requested. */
function* readPieces(directory: string): Generator<Buffer, void, undefined> {
  const descriptor = openSync(join(directory, INDEX_FILE), 'r');
  try {
    const buffer = Buffer.allocUnsafeSlow(FLUSH);
    for (let bytes = readSync(descriptor, buffer); bytes > 0; bytes = readSync(descriptor, buffer))
      yield buffer.subarray(0, bytes);
  } catch (error) {
    throw layerReadFailure(directory, error);
  } finally {
    closeSync(descriptor);
  }
}
