import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Decompress } from 'fzstd';
import { OciError } from '../error.ts';
import type { LayerCompression } from '../media-type.ts';
import { cancelledError, errorCode } from '../network-error.ts';

/** Formats that are met and not read, by their first bytes. */
const OTHER_FORMATS: readonly (readonly [name: string, magic: string])[] = [
  ['xz', 'fd377a585a00'],
  ['bzip2', '425a68'],
  ['a zip archive', '504b0304'],
  ['a qcow2 disk', '514649fb'],
];

/** What the first bytes of a file or a layer say of its compression. */
export function sniffCompression(head: Uint8Array): LayerCompression {
  const hex = Buffer.from(head.subarray(0, 4)).toString('hex');
  if (hex.startsWith('1f8b')) return 'gzip';
  // A frame of data, or one to be skipped (RFC 8878, 3.1.2), with which pzstd begins.
  return hex === '28b52ffd' || /^5.2a4d18$/.test(hex) ? 'zstd' : 'none';
}

/** The name of a format that is no archive that can be read here, if the first bytes are of one that is known. */
export function otherFormat(head: Uint8Array): string | undefined {
  const hex = Buffer.from(head).toString('hex');
  return OTHER_FORMATS.find(([, magic]) => hex.startsWith(magic))?.[0];
}

export interface CompressedFile {
  readonly path: string;
  /** What errors call it. */
  readonly label: string;
  readonly compression: 'gzip' | 'zstd';
  readonly destination: string;
  readonly signal: AbortSignal | undefined;
}

/** Writes what is compressed in one file to another. @throws OciError `layer_corrupt`, `no_space`, `cancelled` */
export async function decompressFile({ path, label, compression, destination, signal }: CompressedFile): Promise<void> {
  try {
    const input = createReadStream(path, { highWaterMark: 64 * 1024 });
    const output = createWriteStream(destination, { flags: 'wx', mode: 0o600 });
    if (compression === 'gzip') await pipeline(input, createGunzip(), output, { signal });
    else await pipeline(input, unzstd, output, { signal });
  } catch (cause) {
    if (signal?.aborted) throw cancelledError(signal);
    const code = errorCode(cause);
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new OciError('no_space', 'no space left in the data directory for the unpacked archive', { cause });
    }
    if (/^E[A-Z]+$/.test(code)) throw new OciError('internal', `cannot unpack ${label} (${code})`, { cause });
    throw new OciError('layer_corrupt', `${label} is damaged or cut short: its ${compression} data ends badly`, {
      cause,
    });
  }
}

/** A block of 4 bytes can stand for 128 KiB: 64 KiB of such blocks were 2 GB in memory at once, these are 32 MiB. */
const ZSTD_INPUT_BYTES = 1024;

/** Node 20 has no zstd of its own. */
async function* unzstd(source: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  const decoded: Uint8Array[] = [];
  const decoder = new Decompress((data) => {
    if (data.length > 0) decoded.push(data);
  });
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += ZSTD_INPUT_BYTES) {
      decoder.push(chunk.subarray(at, at + ZSTD_INPUT_BYTES));
      yield* decoded.splice(0);
    }
  }
  decoder.push(new Uint8Array(0), true);
  yield* decoded.splice(0);
}
