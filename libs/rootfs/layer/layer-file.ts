import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { RootfsError } from '../error.ts';
import { createDecompressor, type LayerCompression } from './compression.ts';
import { BLOCK, isZero } from './layer-data.ts';
import { checkExpansion, DEFAULT_LIMITS, type LayerLimits } from './limits.ts';

/** What `decodeLayer` has to be told of a layer that comes as a file, and not from a manifest. */
export interface LayerFile {
  /** Bytes of the file. */
  readonly size: number;
  readonly compression: LayerCompression;
  /** `sha256:<hex>` of the file, and of the tar in it. */
  readonly compressedDigest: string;
  readonly diffId: string;
}

/**
 * Reads a tar, plain or compressed with gzip or zstd (told by its first bytes), for its digests.
 *
 * @throws RootfsError `layer_corrupt` when it cannot be decompressed, `layer_too_large`, `expansion_too_large`; system errors of reading
 */
export async function describeLayerFile(
  path: string,
  { limits: given, signal }: { readonly limits?: Partial<LayerLimits>; readonly signal?: AbortSignal } = {},
): Promise<LayerFile> {
  const limits = { ...DEFAULT_LIMITS, ...given };
  const compression = await compressionOf(path);
  const blob = createHash('sha256');
  const tar = createHash('sha256');
  let size = 0;
  let tarBytes = 0;
  let zeros = 0;
  let isRead = false;
  try {
    await pipeline(
      createReadStream(path, { highWaterMark: 1024 * 1024 }),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          blob.update(chunk);
          size += chunk.length;
          yield chunk;
        }
        isRead = true;
      },
      createDecompressor(compression),
      async (chunks: AsyncIterable<Buffer>) => {
        for await (const chunk of chunks) {
          tarBytes += chunk.length;
          for (let at = 0; at + BLOCK <= chunk.length; at += BLOCK) if (isZero(chunk, at)) zeros += BLOCK;
          checkExpansion(limits, { tar: tarBytes, zeros, compressed: size });
          tar.update(chunk);
        }
      },
      { signal },
    );
  } catch (error) {
    if (signal?.aborted) throw new RootfsError('cancelled', 'the work was cancelled', { cause: error });
    if (error instanceof RootfsError || (error instanceof Error && 'syscall' in error)) throw error;
    const words = error instanceof Error ? error.message : String(error);
    const where = isRead ? 'at its end' : 'in the middle';
    throw new RootfsError('layer_corrupt', `${path} cannot be decompressed (${compression}), ${where}: ${words}`, {
      cause: error,
    });
  }
  return {
    size,
    compression,
    compressedDigest: `sha256:${blob.digest('hex')}`,
    diffId: `sha256:${tar.digest('hex')}`,
  };
}

/** RFC 1952 and RFC 8878: how their files begin. */
async function compressionOf(path: string): Promise<LayerCompression> {
  const file = await open(path, 'r');
  try {
    const magic = Buffer.alloc(4);
    await file.read(magic, 0, 4, 0);
    if (magic[0] === 0x1f && magic[1] === 0x8b) return 'gzip';
    return magic.readUInt32LE(0) === 0xfd2f_b528 ? 'zstd' : 'none';
  } finally {
    await file.close();
  }
}
