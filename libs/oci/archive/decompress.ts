import { createReadStream, createWriteStream } from 'node:fs';
import { Transform } from 'node:stream';
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
  return hex === '28b52ffd' ? 'zstd' : 'none';
}

/** The name of a format that is no archive that can be read here, if the first bytes are of one that is known. */
export function otherFormat(head: Uint8Array): string | undefined {
  const hex = Buffer.from(head).toString('hex');
  return OTHER_FORMATS.find(([, magic]) => hex.startsWith(magic))?.[0];
}

/** Writes what is compressed in one file to another. @throws OciError `layer_corrupt`, `no_space`, `cancelled` */
export async function decompressFile(
  source: string,
  compression: 'gzip' | 'zstd',
  destination: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    const input = createReadStream(source, { highWaterMark: 64 * 1024 });
    const output = createWriteStream(destination, { flags: 'wx', mode: 0o600 });
    await pipeline(input, compression === 'gzip' ? createGunzip() : createUnzstd(), output, { signal });
  } catch (cause) {
    if (signal?.aborted) throw cancelledError(signal);
    const code = errorCode(cause);
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new OciError('no_space', 'no space left in the data directory for the unpacked archive', { cause });
    }
    if (/^E[A-Z]+$/.test(code)) throw new OciError('internal', `cannot unpack ${source} (${code})`, { cause });
    throw new OciError(
      'layer_corrupt',
      `the archive ${source} is damaged or cut short: its ${compression} data ends badly`,
      {
        cause,
      },
    );
  }
}

/** Node 20 has no zstd of its own. */
function createUnzstd(): Transform {
  const decoder = new Decompress();
  return new Transform({
    construct(callback) {
      decoder.ondata = (data) => this.push(data);
      callback();
    },
    transform(chunk: Buffer, _, callback) {
      try {
        decoder.push(chunk);
        callback();
      } catch (error) {
        callback(error instanceof Error ? error : new Error(String(error)));
      }
    },
    flush(callback) {
      try {
        decoder.push(new Uint8Array(0), true);
        callback();
      } catch (error) {
        callback(error instanceof Error ? error : new Error(String(error)));
      }
    },
  });
}
