import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { RootfsError, toRootfsError } from '../error.ts';
import { requireFreeSpace } from '../free-space.ts';
import { decompress } from './decompress.ts';
import { FileContent } from './file-content.ts';
import { LayerData } from './layer-data.ts';
import { DATA_FILE, LayerIndexWriter } from './layer-index.ts';
import { checkExpansion, checkPath, DEFAULT_LIMITS, type LayerLimits } from './limits.ts';
import { type EntryHeader, entryHeader } from './tar-entry.ts';
import { type TarEntry, TarReader, type TarSink } from './tar-reader.ts';

export interface LayerToDecode {
  /** `sha256:<hex>` of the blob, and of the tar in it. */
  readonly compressedDigest: string;
  readonly diffId: string;
  /** An empty directory for the layer's `data` and `index`. */
  readonly outDirectory: string;
  /** Default: `DEFAULT_LIMITS`. */
  readonly limits?: LayerLimits | undefined;
}

export interface DecodedLayer {
  readonly entries: number;
  /** Bytes of the layer's tar. */
  readonly tarBytes: number;
}

/**
 * Decodes a layer in one pass over its blob: hashes the compressed bytes, decompresses, hashes the tar, parses its entries,
 * and writes the layer's data and index. Only a few chunks are in memory at a time.
 *
 * @throws RootfsError `digest_mismatch` when the blob is not the expected one; `layer_corrupt`, `path_escapes_root` when it is, but
 * is not a valid layer; `layer_too_large`, `expansion_too_large` as soon as a limit is exceeded; `no_space`
 */
export async function decodeBlob(layer: LayerToDecode, blob: AsyncIterable<Buffer>): Promise<DecodedLayer> {
  const compressedHash = createHash('sha256');
  const chunks = blob[Symbol.asyncIterator]();
  const limits = layer.limits ?? DEFAULT_LIMITS;
  try {
    const tar = new TarDecoder(layer, limits);
    try {
      await decompress(
        chunks,
        (chunk) => {
          tar.compressedBytes += chunk.length;
          compressedHash.update(chunk);
        },
        (chunk) => tar.push(chunk),
      );
      tar.finish();
    } catch (error) {
      tar.abandon();
      throw error;
    }
    checkDigest(layer.compressedDigest, compressedHash.digest('hex'), 'blob');
    checkDigest(layer.diffId, tar.digest, 'tar');
    return { entries: tar.entries, tarBytes: tar.bytes };
  } catch (error) {
    const failure = toRootfsError(error);
    if (failure.code !== 'layer_corrupt' && failure.code !== 'path_escapes_root') throw failure;
    // Whose fault is it? A blob that was damaged on the way can be fetched again; one that was published like this cannot.
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next())
      compressedHash.update(next.value);
    checkDigest(layer.compressedDigest, compressedHash.digest('hex'), 'blob', failure);
    throw failure;
  } finally {
    // Closes the source, even where it was not read to its end.
    await chunks.return?.();
  }
}

function checkDigest(expected: string, actual: string, what: string, cause?: unknown): void {
  if (expected === `sha256:${actual}`) return;
  throw new RootfsError('digest_mismatch', `a layer's ${what} should be ${expected}, but is sha256:${actual}`, {
    cause,
  });
}

/** Converts the bytes of a tar to a layer's data and index. */
class TarDecoder implements TarSink {
  readonly #hash = createHash('sha256');
  readonly #reader = new TarReader(this);
  readonly #dataDescriptor: number;
  readonly #data: LayerData;
  readonly #index: LayerIndexWriter;
  readonly #limits: LayerLimits;
  #header: EntryHeader | undefined;
  /** The content of the current entry, where it is a file. */
  #content: FileContent | undefined;
  #isClosed = false;
  /** Bytes of the blob that have been decompressed, to be counted by the caller. */
  compressedBytes = 0;
  bytes = 0;
  digest = '';

  constructor(layer: LayerToDecode, limits: LayerLimits) {
    this.#limits = limits;
    this.#dataDescriptor = openSync(join(layer.outDirectory, DATA_FILE), 'w', 0o600);
    try {
      this.#index = new LayerIndexWriter(layer.outDirectory, layer.diffId, limits);
    } catch (error) {
      closeSync(this.#dataDescriptor);
      throw error;
    }
    this.#data = new LayerData(this.#dataDescriptor, (bytes) => {
      this.#checkExpansion();
      requireFreeSpace(layer.outDirectory, bytes);
    });
  }

  get entries(): number {
    return this.#index.entries;
  }

  /** Processes the next bytes. Never once it is closed: they would be written to whatever file has the number of ours by then. */
  push(chunk: Buffer): void {
    if (this.#isClosed) throw new RootfsError('internal', 'bytes of a layer came after its decoding had ended');
    this.bytes += chunk.length;
    this.#checkExpansion();
    this.#hash.update(chunk);
    this.#reader.push(chunk);
  }

  /** Ends the tar. */
  finish(): void {
    this.#reader.finish();
    this.#data.flush();
    this.#checkExpansion();
    this.#close();
    this.digest = this.#hash.digest('hex');
  }

  /** Closes what `finish` has not closed. */
  abandon(): void {
    try {
      this.#close();
    } catch {
      // Only the first failure is reported.
    }
  }

  entry(entry: TarEntry): void {
    const header = entryHeader(entry);
    checkPath(this.#limits, header.path);
    this.#header = header;
    this.#content = header.type === 'file' ? new FileContent(this.#data, header) : undefined;
  }

  content(bytes: Buffer): void {
    this.#content?.append(bytes);
  }

  end(): void {
    if (this.#header === undefined) throw new RootfsError('internal', 'the end of an entry that did not begin');
    this.#index.add(this.#header, this.#content?.end() ?? []);
  }

  #checkExpansion(): void {
    const { zeroBytes: zeros, writtenBytes: written } = this.#data;
    checkExpansion(this.#limits, { tar: this.bytes, zeros, compressed: this.compressedBytes, written });
  }

  /** Only once: the number of a closed descriptor may belong to another file by now. */
  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Both, whatever fails: a file that stays open keeps its space on a full disk even when it is removed.
    try {
      this.#index.close();
    } finally {
      closeSync(this.#dataDescriptor);
    }
  }
}
