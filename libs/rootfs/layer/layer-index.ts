import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { RootfsError } from '../error.ts';
import { formatEntry, type LayerEntry, parseEntry } from './entry.ts';
import { LAYER_FORMAT } from './layer-format.ts';
import { DEFAULT_LIMITS, type LayerLimits } from './limits.ts';

/** Names of the two files of a layer in the cache. */
export const INDEX_FILE = 'index';
export const DATA_FILE = 'data';

/** Bytes gathered for one write, and of one read. */
const FLUSH = 512 * 1024;
const header = z.object({ format: z.literal(LAYER_FORMAT), diffId: z.string() });

/** Writes a layer's index: a line that says what it is, then a line an entry in the order of the tar. */
export class LayerIndexWriter {
  readonly #descriptor: number;
  #lines: string[] = [];
  #entries = 0;
  #bytes = 0;
  #gathered = 0;
  readonly #limits: Pick<LayerLimits, 'entries' | 'indexBytes'>;

  constructor(directory: string, diffId: string, limits: Pick<LayerLimits, 'entries' | 'indexBytes'> = DEFAULT_LIMITS) {
    this.#limits = limits;
    this.#descriptor = openSync(join(directory, INDEX_FILE), 'w', 0o600);
    this.#lines.push(JSON.stringify({ format: LAYER_FORMAT, diffId }));
  }

  get entries(): number {
    return this.#entries;
  }

  /** @throws RootfsError `layer_too_large` when there are too many, or what they say is too long */
  add(entry: Omit<LayerEntry, 'runs'>, runs: LayerEntry['runs']): void {
    const line = formatEntry(entry, runs);
    this.#lines.push(line);
    this.#entries++;
    this.#bytes += line.length;
    this.#gathered += line.length;
    if (this.#entries > this.#limits.entries)
      throw new RootfsError(
        'layer_too_large',
        `a layer has more than ${this.#limits.entries} entries, which is the limit`,
      );
    if (this.#bytes > this.#limits.indexBytes) {
      throw new RootfsError(
        'layer_too_large',
        `the names and attributes of a layer take more than ${this.#limits.indexBytes} bytes, which is the limit`,
      );
    }
    if (this.#gathered >= FLUSH) this.#flush();
  }

  /** Writes the rest; closes the file also where that fails. */
  close(): void {
    try {
      this.#flush();
    } finally {
      closeSync(this.#descriptor);
    }
  }

  #flush(): void {
    if (this.#lines.length === 0) return;
    const bytes = Buffer.from(`${this.#lines.join('\n')}\n`, 'latin1');
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    this.#lines = [];
    this.#gathered = 0;
  }
}

export interface LayerIndex {
  /** `sha256:<hex>` of the layer's tar. */
  readonly diffId: string;
  /** In the order of the tar; may be walked once. */
  readonly entries: Iterable<LayerEntry>;
}

/**
 * Reads the index of a layer in the cache, a piece at a time: that of 500,000 entries is of 60 MB. Throws when it is not
 * one.
 */
export function readLayerIndex(directory: string): LayerIndex {
  const path = join(directory, INDEX_FILE);
  for (const line of readLines(path)) {
    const { diffId } = header.parse(JSON.parse(line));
    return { diffId, entries: parseEntries(path) };
  }
  throw new Error('the index of a layer is empty');
}

/** Whether the first line of an index says that it holds this version's reading of a tar. */
export function isIndexHeader(line: string): boolean {
  try {
    return header.safeParse(JSON.parse(line)).success;
  } catch {
    return false;
  }
}

function* parseEntries(path: string): Iterable<LayerEntry> {
  let isHeader = true;
  for (const line of readLines(path)) {
    if (!isHeader) yield parseEntry(line);
    isHeader = false;
  }
}

function* readLines(path: string): Generator<string, void, undefined> {
  const descriptor = openSync(path, 'r');
  try {
    const buffer = Buffer.allocUnsafeSlow(FLUSH);
    let rest = '';
    for (let bytes = readSync(descriptor, buffer); bytes > 0; bytes = readSync(descriptor, buffer)) {
      const text = rest + buffer.toString('latin1', 0, bytes);
      let at = 0;
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
        yield text.slice(at, end);
        at = end + 1;
      }
      rest = text.slice(at);
    }
    if (rest !== '') throw new Error('the index of a layer ends in the middle of a line');
  } finally {
    closeSync(descriptor);
  }
}
