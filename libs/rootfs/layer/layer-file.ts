import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cancelled, RootfsError } from '../error.ts';
import { compressionOf } from './compression.ts';
import { decompress } from './decompress.ts';
import { BLOCK, isZero } from './layer-data.ts';
import { checkExpansion, DEFAULT_LIMITS, type LayerLimits } from './limits.ts';

/** What `decodeLayer` needs to know of a layer that is given as a file, without a manifest. */
export interface LayerFile {
  /** Bytes of the file. */
  readonly size: number;
  /** `sha256:<hex>` of the file, and of the tar in it. */
  readonly compressedDigest: string;
  readonly diffId: string;
}

/**
 * Reads a tar, plain or compressed with gzip or zstd (recognised by its first bytes), to compute its digests.
 *
 * @throws RootfsError `layer_corrupt` when it cannot be decompressed, `layer_too_large`, `expansion_too_large`; system errors of reading
 */
export async function describeLayerFile(
  path: string,
  { limits: given, signal }: { readonly limits?: Partial<LayerLimits>; readonly signal?: AbortSignal } = {},
): Promise<LayerFile> {
  const limits = { ...DEFAULT_LIMITS, ...given };
  const blob = createHash('sha256');
  const tar = createHash('sha256');
  let size = 0;
  let tarBytes = 0;
  let zeros = 0;
  let isRead = false;
  let compression: string = 'none';
  const file = createReadStream(path, { highWaterMark: 1024 * 1024, signal });
  const whole: AsyncIterable<Buffer> = file;
  async function* chunks(): AsyncGenerator<Buffer, void, undefined> {
    yield* whole;
    isRead = true;
  }
  try {
    await decompress(
      chunks(),
      (chunk) => {
        if (size === 0) compression = compressionOf(chunk);
        blob.update(chunk);
        size += chunk.length;
      },
      (chunk) => {
        tarBytes += chunk.length;
        for (let at = 0; at + BLOCK <= chunk.length; at += BLOCK) if (isZero(chunk, at)) zeros += BLOCK;
        checkExpansion(limits, { tar: tarBytes, zeros, compressed: size, written: 0 });
        tar.update(chunk);
      },
    );
  } catch (error) {
    if (signal?.aborted) throw cancelled(error);
    if (!(error instanceof RootfsError && error.code === 'layer_corrupt' && error.cause !== undefined)) throw error;
    const where = isRead ? 'at the end' : 'in the middle';
    throw new RootfsError('layer_corrupt', `${error.message} (${where} of its ${compression} data)`, { cause: error });
  } finally {
    file.destroy();
  }
  return {
    size,
    compressedDigest: `sha256:${blob.digest('hex')}`,
    diffId: `sha256:${tar.digest('hex')}`,
  };
}
