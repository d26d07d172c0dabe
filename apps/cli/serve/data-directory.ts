import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolders } from '@bhatti/store';
import { CliError, systemErrorCode } from '../cli-error.ts';
import type { LocalPaths } from '../local-paths.ts';

/** Bytes: four times what a stack writes until it is healthy. A Redis that cannot write refuses every task. */
const ROOM = 256 * 1024;

/** Error codes of a directory or disk that cannot be written to, other than a full one. */
const UNUSABLE: ReadonlySet<string> = new Set([
  'EACCES',
  'EIO',
  'ENAMETOOLONG',
  'ENOTDIR',
  'EPERM',
  'EROFS',
  'ESTALE',
  'EUCLEAN',
]);

/** Makes the folders of a stack, private to its user. Throws CliError `data_dir_unusable` or `disk_full`. */
export async function makeDirectories(paths: LocalPaths): Promise<void> {
  for (const directory of [paths.dataDirectory, paths.runDirectory, paths.redisDirectory]) {
    try {
      await makeFolders(directory, 0o700);
    } catch (error) {
      throw systemErrorCode(error) === 'EEXIST' ? inTheWay(directory, error) : unusable('make', paths, error);
    }
  }
}

function inTheWay(path: string, cause: unknown): CliError {
  return new CliError('data_dir_unusable', `${path} is in the way: it is not a directory (EEXIST)`, {
    cause,
    hint: 'Move it elsewhere, or choose another data directory with --data-dir or BHATTI_DATA_DIR.',
  });
}

/** Writes as much as a start takes: permissions do not reveal a full disk. Rejects with CliError `disk_full` or `data_dir_unusable`. */
export async function requireRoom(paths: LocalPaths): Promise<void> {
  const path = join(paths.runDirectory, 'write-check');
  try {
    // Random, as some file systems store zeros as nothing.
    await writeFile(path, randomBytes(ROOM), { mode: 0o600 });
  } catch (error) {
    throw unusable('write to', paths, error);
  } finally {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

/** Why a stack did not start: a problem with its data directory if there is one, else the `error` given. */
export async function reasonOfFailure(paths: LocalPaths, error: unknown): Promise<unknown> {
  if (isDisk(error)) return unusable('write to', paths, error);
  return requireRoom(paths).then(
    () => error,
    (refused: unknown) => refused,
  );
}

function isDisk(error: unknown): boolean {
  const code = systemErrorCode(error) ?? '';
  return isFull(code) || UNUSABLE.has(code);
}

function isFull(code: string): boolean {
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function unusable(what: string, { dataDirectory }: LocalPaths, error: unknown): CliError {
  const code = systemErrorCode(error) ?? 'unknown error';
  if (isFull(code)) {
    return new CliError('disk_full', `the disk of the data directory ${dataDirectory} is full (${code})`, {
      cause: error,
      hint: `Make room and run the same command again, or choose another directory with --data-dir or BHATTI_DATA_DIR.
While no server runs, what is in ${join(dataDirectory, 'layers', 'sha256')} may be removed: it is a cache.`,
    });
  }
  return new CliError('data_dir_unusable', `cannot ${what} the data directory ${dataDirectory} (${code})`, {
    cause: error,
    hint: 'Choose another one with --data-dir or BHATTI_DATA_DIR.',
  });
}
