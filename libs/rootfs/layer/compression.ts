import type { Duplex } from 'node:stream';
import { PassThrough } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { createZstdDecompress } from './zstd.ts';

export type LayerCompression = 'gzip' | 'zstd' | 'none';

/**
 * Bytes of a decompressor's output chunks: each costs a turn of the event loop and a buffer. Decoding a 1 GB image took 5.1 s of CPU with
 * 1 MiB, 5.4 with 512 KiB, 5.8 with 256 KiB, and a fifth more than that with 64 KiB.
 */
const OUTPUT_CHUNK = 1024 * 1024;

/** A decompressor stream; zlib's count the bytes that they have consumed. */
export type Decompressor = Duplex & { readonly bytesWritten?: number };

/** A stream from the bytes of a layer blob to those of its tar. */
export function createDecompressor(compression: LayerCompression): Decompressor {
  switch (compression) {
    case 'gzip':
      return createGunzip({ chunkSize: OUTPUT_CHUNK });
    case 'zstd':
      return createZstdDecompress();
    case 'none':
      return new PassThrough({ highWaterMark: OUTPUT_CHUNK });
  }
}

/** Bytes needed to recognise a compression. */
export const MAGIC_BYTES = 4;

/** The compression by the first bytes (RFC 1952; RFC 8878, also its skippable frames, with which pzstd begins); `none` if unknown. */
export function compressionOf(head: Buffer): LayerCompression {
  if (head[0] === 0x1f && head[1] === 0x8b && head[2] === 8) return 'gzip';
  if (head.length < MAGIC_BYTES) return 'none';
  const magic = head.readUInt32LE(0);
  return magic === 0xfd2f_b528 || magic >>> 4 === 0x184_d2a5 ? 'zstd' : 'none';
}

/** A compression that is not supported here, though Docker may accept it: bzip2 (its magic and that of its first block) or xz. */
export function foreignCompression(head: Buffer): 'bzip2' | 'xz' | undefined {
  const start = head.toString('latin1', 0, 10);
  if (/^BZh[1-9]1AY&SY$/.test(start)) return 'bzip2';
  return start.startsWith('\xfd7zXZ\0') ? 'xz' : undefined;
}
