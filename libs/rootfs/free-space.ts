import { statfsSync } from 'node:fs';
import { RootfsError } from './error.ts';

/** Bytes that are left free, so that whatever else uses the disk (Redis, the catalog, logs) keeps working. */
export const FREE_SPACE_RESERVE = 64 * 1024 * 1024;

/** @throws RootfsError `no_space` unless `bytes` and the reserve are free on the disk that holds the path */
export function requireFreeSpace(path: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(path);
  const free = bavail * bsize;
  if (free >= bytes + FREE_SPACE_RESERVE) return;
  throw new RootfsError(
    'no_space',
    `no space left on the disk of the data directory: ${Math.ceil((bytes + FREE_SPACE_RESERVE) / 1e6)} MB have to be free, as 64 MiB always stay so, and ${Math.floor(free / 1e6)} MB are; free some and try again`,
  );
}
