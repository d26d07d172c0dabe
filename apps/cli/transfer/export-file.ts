import type { Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, constants, type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CliError, systemErrorCode } from '../cli-error.ts';
import { hiddenName } from './hidden-name.ts';

const BLOCK = 4096;
const zeros = Buffer.alloc(BLOCK);

/** The ETag of an image whose SHA-256 is not known yet. */
const BUILD_TAG = /^"([\w-]{43})"$/;

/** The file that an export writes to until it is complete: beside its target, and named for the ETag of its bytes. */
export function partialPath(path: string, etag: string): string {
  const tag = BUILD_TAG.exec(etag)?.[1] ?? etag.replace(/[^0-9a-zA-Z]/g, '').slice(0, 16);
  return join(dirname(path), `${hiddenName(path)}.${tag}.partial`);
}

/** What `partialPath` makes of a tag, or of a missing one. */
const PARTIAL_TAG = /^([0-9a-zA-Z]{16}|[\w-]{43})?$/;

/** The partial files of exports to this file that began before the image's SHA-256 was known, with its ETag of that time. */
export async function partialsOfBuilds(path: string): Promise<{ path: string; etag: string }[]> {
  const tagged = (await partialsOf(path)).map(({ path, tag }) => ({ path, etag: `"${tag}"` }));
  return tagged.filter(({ etag }) => BUILD_TAG.test(etag));
}

/** Removes the other partial files of exports to this file: the image has changed since, so nothing resumes them. */
export async function removeOtherPartials(path: string, partial: string): Promise<void> {
  for (const other of await partialsOf(path)) {
    if (other.path !== partial) await rm(other.path, { force: true }).catch(() => undefined);
  }
}

async function partialsOf(path: string): Promise<{ path: string; tag: string }[]> {
  const [prefix, suffix] = [`${hiddenName(path)}.`, '.partial'];
  const names = await readdir(dirname(path)).catch(() => []);
  return names.flatMap((name) => {
    const tag = name.slice(prefix.length, -suffix.length);
    const isPartial = name === prefix + tag + suffix && PARTIAL_TAG.test(tag);
    return isPartial ? [{ path: join(dirname(path), name), tag }] : [];
  });
}

/** Rejects with CliError `exists` for a file that is there, unless it may be replaced. */
export async function checkTarget(path: string, force: boolean): Promise<void> {
  const there = await stat(path).catch((error) => {
    if (systemErrorCode(error) === 'ENAMETOOLONG') throw writeError(path, error);
    return undefined;
  });
  if (there?.isDirectory()) throw new CliError('invalid_request', `${path} is a directory; -o takes a file`);
  if (there !== undefined && !there.isFile()) {
    // A rename would replace the device.
    throw new CliError('invalid_request', `${path} is no plain file; -o takes one, or - for stdout`);
  }
  if (there !== undefined && !force) {
    throw new CliError('exists', `${path} is there already`, {
      hint: 'Add --force to replace it, or name another with -o.',
    });
  }
  await access(dirname(path), constants.W_OK).catch((error) => {
    throw systemErrorCode(error) === 'ENOENT'
      ? new CliError('not_found', `there is no directory ${dirname(path)}`, { cause: error })
      : writeError(dirname(path), error);
  });
}

/** Adds the bytes of a partial file to the hash. */
export async function hashPartial(path: string, hash: Hash): Promise<void> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  } catch (error) {
    throw writeError(path, error);
  }
}

/** The bytes of a partial file, all of which are good, as they are written in order; 0 if there is no file. */
export async function partialSize(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/**
 * Bytes that arrive while others are being written, and are then written together. Written as they came, 64 KB at a time, and read again to
 * be hashed, the export of `python:3.12` took 1.5 times the CPU time.
 */
const WAITING_BYTES = 1024 * 1024;

export interface Arrival {
  /** Byte of the file that `body` begins with. */
  readonly from: number;
  /** Of the bytes before `from`; those of `body` are added to it. */
  readonly hash: Hash;
  /** Called with the bytes that the file has. */
  readonly received: (bytes: number) => void;
}

/**
 * Writes `body` to the file as it arrives; blocks of zeros become holes, and one at the end is left for `publishExport` to make.
 * Resolves with the bytes that there are in the end.
 */
export async function writeSparse(path: string, body: Readable, { from, hash, received }: Arrival): Promise<number> {
  const file = await openPartial(path);
  let position = from;
  let writing = Promise.resolve();
  const write = async (bytes: Buffer) => {
    hash.update(bytes);
    await writeChunk(file, bytes, position);
    position += bytes.length;
    received(position);
  };
  const sink = new Writable({
    highWaterMark: WAITING_BYTES,
    write: (bytes, _encoding, done) => {
      writing = write(bytes);
      writing.then(() => done(), done);
    },
    writev: (waiting, done) => {
      writing = write(Buffer.concat(waiting.map(({ chunk }) => chunk)));
      writing.then(() => done(), done);
    },
  });
  try {
    // Zeros are not written: what was there before would show through.
    if (from === 0) await file.truncate(0);
    await pipeline(body, sink);
    return position;
  } catch (error) {
    throw writeError(path, error);
  } finally {
    // A connection that breaks does not end the write under way, whose descriptor must not become another file's.
    await writing.catch(() => undefined);
    await file.close();
  }
}

/** Errors for which another path may help. */
const WRONG_PATH: ReadonlySet<string> = new Set([
  'EACCES',
  'EFBIG',
  'ENAMETOOLONG',
  'ENOENT',
  'ENOTDIR',
  'EPERM',
  'EROFS',
]);

/** Errors of the disk or the machine. */
const FAILED: ReadonlySet<string> = new Set(['EINTR', 'EIO', 'EMFILE', 'ENFILE', 'ENOMEM', 'ENXIO', 'ESTALE']);

function hintOf(code: string): { hint?: string } {
  if (FAILED.has(code)) return {};
  if (code !== 'EFBIG') return { hint: 'Name a file that you may write with -o.' };
  return { hint: 'A file may not be that large there: raise "ulimit -f", or name one on another file system with -o.' };
}

/** Explains an error of writing the file; errors of the connection are returned as they are. */
function writeError(path: string, error: unknown): unknown {
  const code = systemErrorCode(error) ?? '';
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new CliError('disk_full', `the disk is full at ${path} (${code})`, {
      cause: error,
      hint: 'Make room and run the same command again: it goes on from what the disk has taken.',
    });
  }
  if (!WRONG_PATH.has(code) && !FAILED.has(code)) return error;
  return new CliError('not_writable', `cannot write ${path} (${code})`, {
    cause: error,
    ...hintOf(code),
  });
}

export interface Arrived {
  /** Bytes. */
  readonly size: number;
  /** In hex. */
  readonly sha256: string;
}

/**
 * Syncs what arrived, unless it is not what was `expected` (a SHA-256 in hex, undefined if not known), and renames it to `path`. Rejects with
 * CliError `digest_mismatch`, or as `checkTarget` does, again: others may have made a file in the minutes of a download. Then the partial
 * file stays.
 */
export async function publishExport(
  partial: string,
  path: string,
  { size, sha256, expected, force }: Arrived & { expected: string | undefined; force: boolean },
): Promise<void> {
  try {
    if (expected !== undefined && sha256 !== expected) {
      await rm(partial);
      throw new CliError('digest_mismatch', 'what arrived is not what the server has', { hint: 'Try again.' });
    }
    await bringToDisk(partial, size);
    await checkTarget(path, force);
    await rename(partial, path);
  } catch (error) {
    throw writeError(partial, error);
  }
}

/** Removes the file if the sync fails: another sync would succeed, although the bytes are lost (fsync(2)). */
async function bringToDisk(partial: string, size: number): Promise<void> {
  const file = await open(partial, 'r+');
  try {
    await file.truncate(size);
    await file.sync().catch(async (error) => {
      await rm(partial, { force: true });
      throw error;
    });
  } finally {
    await file.close();
  }
}

/** Writes each run of blocks that are not all zeros in one go. */
async function writeChunk(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  let start = 0;
  while (start < chunk.length) {
    let end = nextBlock(start, position, chunk.length);
    const empty = isZero(chunk, start, end);
    while (end < chunk.length && isZero(chunk, end, nextBlock(end, position, chunk.length)) === empty) {
      end = nextBlock(end, position, chunk.length);
    }
    if (!empty) await writeAll(file, chunk.subarray(start, end), position + start);
    start = end;
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten;
  }
}

/** Where, within the chunk, the file block ends that contains byte `offset` of the chunk. */
function nextBlock(offset: number, position: number, length: number): number {
  return Math.min(length, offset + BLOCK - ((position + offset) % BLOCK));
}

function isZero(chunk: Buffer, start: number, end: number): boolean {
  return chunk.compare(zeros, 0, end - start, start, end) === 0;
}

async function openPartial(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw writeError(path, error);
    return open(path, 'wx+').catch((refused) => {
      throw writeError(path, refused);
    });
  }
}
