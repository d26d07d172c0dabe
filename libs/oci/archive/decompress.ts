import { createReadStream, createWriteStream } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Decompress } from 'fzstd';
import { cancelledError } from '../cancellation.ts';
import { OciError } from '../error.ts';
import type { LayerCompression } from '../image/media-type.ts';
import { errorCode, isDiskFull, isSystemError } from '../system-error.ts';
import { gunzip } from './gunzip.ts';
import { ZSTD_WINDOW_LIMIT, ZstdWindows } from './zstd-window.ts';

/** How much a compressed archive may unpack to. The bytes are counted as they are unpacked; stated sizes are not trusted. */
export interface ArchiveLimits {
  readonly unpackedBytes: number;
  /** Most bytes unpacked for each byte of the archive, enforced after `expansionGrace` unpacked bytes. */
  readonly expansionRatio: number;
  readonly expansionGrace: number;
}

const GIB = 2 ** 30;

/** Far above real archives, whose layers are already compressed, or are tars of files (20:1 at most). deflate can reach 1,032:1. */
export const DEFAULT_ARCHIVE_LIMITS: ArchiveLimits = {
  unpackedBytes: 256 * GIB,
  expansionRatio: 200,
  expansionGrace: GIB,
};

/** Bytes of the disk that are left free, so that whatever else uses it keeps working. */
const RESERVE = 64 * 1024 * 1024;
/** Bytes between checks of the free space, since others write to the disk too. */
const LOOK_INTERVAL = 32 * 1024 * 1024;

/** Formats that people try and that are not supported, by their first bytes. */
const OTHER_FORMATS: readonly (readonly [name: string, magic: string])[] = [
  ['xz', 'fd377a585a00'],
  ['bzip2', '425a68'],
  ['a zip archive', '504b0304'],
  ['a qcow2 disk', '514649fb'],
];

/** How a file or a layer is compressed, judged by its first bytes. */
export function sniffCompression(head: Uint8Array): LayerCompression {
  const hex = Buffer.from(head.subarray(0, 4)).toString('hex');
  if (hex.startsWith('1f8b')) return 'gzip';
  // A data frame, or a skippable one (RFC 8878, 3.1.2), with which pzstd begins.
  return hex === '28b52ffd' || /^5.2a4d18$/.test(hex) ? 'zstd' : 'none';
}

/** Bytes at the start of an archive that `archiveCompression` needs. */
export const ARCHIVE_HEAD_BYTES = 8;

/**
 * How an archive is compressed, judged by its first bytes.
 *
 * @param label what errors call the archive
 * @throws OciError `invalid_request` for a known format that is not supported
 */
export function archiveCompression(head: Uint8Array, label: string): LayerCompression {
  const hex = Buffer.from(head).toString('hex');
  const [other] = OTHER_FORMATS.find(([, magic]) => hex.startsWith(magic)) ?? [];
  if (other === undefined) return sniffCompression(head);
  throw new OciError(
    'invalid_request',
    `${label} is ${other}; an archive is a tar, plain or compressed with gzip or zstd`,
  );
}

export interface CompressedFile {
  readonly path: string;
  /** What errors call it. */
  readonly label: string;
  readonly compression: 'gzip' | 'zstd';
  readonly destination: string;
  readonly limits: ArchiveLimits;
  readonly signal: AbortSignal | undefined;
}

/**
 * Decompresses one file to another.
 *
 * @throws OciError `layer_corrupt`; `archive_too_large`, `expansion_too_large` as soon as a limit is exceeded; `no_space`; `cancelled`
 */
export async function decompressFile(file: CompressedFile): Promise<void> {
  const { path, label, compression, destination, signal } = file;
  try {
    const input = createReadStream(path, { highWaterMark: 64 * 1024 });
    const output = createWriteStream(destination, { flags: 'wx', mode: 0o600 });
    const limited = (source: AsyncIterable<Uint8Array>) => withinLimits(source, file, () => input.bytesRead);
    const unpacked = (source: AsyncIterable<Buffer>) =>
      compression === 'gzip' ? gunzip(source) : unzstd(source, label);
    await pipeline(input, unpacked, limited, output, { signal });
  } catch (cause) {
    if (signal?.aborted) throw cancelledError(signal);
    if (cause instanceof OciError) throw cause;
    const code = errorCode(cause);
    if (isDiskFull(cause)) {
      throw new OciError('no_space', 'no space left in the data directory for the unpacked archive', { cause });
    }
    if (isSystemError(cause)) throw new OciError('internal', `cannot unpack ${label} (${code})`, { cause });
    throw new OciError('layer_corrupt', `${label} is damaged or cut short: its ${compression} data ends badly`, {
      cause,
    });
  }
}

async function* withinLimits(
  source: AsyncIterable<Uint8Array>,
  { label, limits, destination }: CompressedFile,
  bytesRead: () => number,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let looked = -LOOK_INTERVAL;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > limits.unpackedBytes) {
      throw new OciError(
        'archive_too_large',
        `${label} unpacks to more than ${limits.unpackedBytes} bytes, the limit of this server, which its operator sets (BHATTI_MAX_ARCHIVE_BYTES)`,
      );
    }
    if (bytes > limits.expansionGrace && bytes > bytesRead() * limits.expansionRatio) {
      throw new OciError(
        'expansion_too_large',
        `${label} unpacks to ${bytes} bytes from ${bytesRead()}, more than ${limits.expansionRatio} times as many: it looks made to fill disks; the operator can allow more`,
      );
    }
    if (bytes - looked >= LOOK_INTERVAL) {
      await requireRoom(destination);
      looked = bytes;
    }
    yield chunk;
  }
}

async function requireRoom(destination: string): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(destination));
  if (bavail * bsize >= RESERVE + LOOK_INTERVAL) return;
  throw new OciError('no_space', 'no space left in the data directory for the unpacked archive');
}

/** @throws OciError `archive_too_large` */
function checkWindow(bytes: number, label: string): void {
  if (bytes <= ZSTD_WINDOW_LIMIT) return;
  const megabytes = (size: number) => `${Math.ceil(size / 2 ** 20)} MiB`;
  throw new OciError(
    'archive_too_large',
    `${label} takes a window of ${megabytes(bytes)} of memory to unpack; ${megabytes(ZSTD_WINDOW_LIMIT)} is the limit: compress it without --long, and below level 22`,
  );
}

/** Bytes given to the decoder at once. A block of 4 bytes can expand to 128 KiB: 64 KiB would be 2 GB in memory, this is 32 MiB. */
const ZSTD_INPUT_BYTES = 1024;

/** Bytes of windows that the decoder may allocate at once: it frees none before its input is used up. */
const ZSTD_WINDOWS_AT_ONCE = 256 * 1024 * 1024;
/** Bytes of a frame, at least: magic number, descriptor, window, and the header of a block. */
const SMALLEST_ZSTD_FRAME = 9;

/** Bytes to give to the decoder at once: fewer where windows are large, as each frame gets one of its own. */
function sliceFor(window: number): number {
  const frames = Math.max(1, Math.floor(ZSTD_WINDOWS_AT_ONCE / Math.max(1, window)));
  return Math.min(ZSTD_INPUT_BYTES, frames * SMALLEST_ZSTD_FRAME);
}

/** With fzstd, since Node 20 has no zstd of its own. */
async function* unzstd(source: AsyncIterable<Buffer>, label: string): AsyncGenerator<Uint8Array> {
  const windows = new ZstdWindows();
  const decoded: Uint8Array[] = [];
  const decoder = new Decompress((data) => {
    if (data.length > 0) decoded.push(data);
  });
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += ZSTD_INPUT_BYTES) {
      const slice = chunk.subarray(at, at + ZSTD_INPUT_BYTES);
      const window = windows.push(slice);
      checkWindow(window, label);
      const length = sliceFor(window);
      for (let start = 0; start < slice.length; start += length) decoder.push(slice.subarray(start, start + length));
      yield* decoded.splice(0);
    }
  }
  decoder.push(new Uint8Array(0), true);
  yield* decoded.splice(0);
}
