import type { Duplex } from 'node:stream';
import { PassThrough } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { createZstdDecompress } from './zstd.ts';

export type LayerCompression = 'gzip' | 'zstd' | 'none';

/**
 * Bytes a decompressor hands out at once. With 64 KiB a 1 GB image took 20 % longer to decode (5.5 s against 4.6 s): each
 * chunk costs a turn of the event loop.
 */
const OUTPUT_CHUNK = 256 * 1024;

/** A stream from the bytes of a layer blob to those of its tar. */
export function createDecompressor(compression: LayerCompression): Duplex {
  switch (compression) {
    case 'gzip':
      return createGunzip({ chunkSize: OUTPUT_CHUNK });
    case 'zstd':
      return createZstdDecompress();
    case 'none':
      return new PassThrough({ highWaterMark: OUTPUT_CHUNK });
  }
}
