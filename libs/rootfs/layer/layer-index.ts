import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { formatEntry, type LayerEntry, parseEntry } from './entry.ts';

/** Names of the two files of a layer in the cache. */
export const INDEX_FILE = 'index';
export const DATA_FILE = 'data';

const FORMAT = 1;
const header = z.object({ format: z.literal(FORMAT), diffId: z.string() });

/** Writes a layer's index: a line that says what it is, then a line an entry in the order of the tar. */
export class LayerIndexWriter {
  readonly #descriptor: number;
  #lines: string[] = [];
  #entries = 0;

  constructor(directory: string, diffId: string) {
    this.#descriptor = openSync(join(directory, INDEX_FILE), 'w', 0o600);
    this.#lines.push(JSON.stringify({ format: FORMAT, diffId }));
  }

  get entries(): number {
    return this.#entries;
  }

  add(entry: LayerEntry): void {
    this.#lines.push(formatEntry(entry));
    this.#entries++;
    if (this.#lines.length >= 4096) this.#flush();
  }

  close(): void {
    this.#flush();
    closeSync(this.#descriptor);
  }

  #flush(): void {
    const bytes = Buffer.from(`${this.#lines.join('\n')}\n`, 'latin1');
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    this.#lines = [];
  }
}

export interface LayerIndex {
  /** `sha256:<hex>` of the layer's tar. */
  readonly diffId: string;
  /** In the order of the tar; may be walked once. */
  readonly entries: Iterable<LayerEntry>;
}

/** Reads the index of a layer in the cache. Throws when it is not one. */
export function readLayerIndex(directory: string): LayerIndex {
  const text = readFileSync(join(directory, INDEX_FILE), 'latin1');
  const end = text.indexOf('\n');
  const { diffId } = header.parse(JSON.parse(text.slice(0, end)));
  return { diffId, entries: parseLines(text, end + 1) };
}

function* parseLines(text: string, from: number): Iterable<LayerEntry> {
  for (let at = from; at < text.length; ) {
    const end = text.indexOf('\n', at);
    if (end < 0) throw new Error('the index of a layer ends in the middle of a line');
    yield parseEntry(text.slice(at, end));
    at = end + 1;
  }
}
