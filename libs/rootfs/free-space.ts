import { statfsSync } from 'node:fs';
import { RootfsError } from './error.ts';

/** Bytes that are left free: what else lives on the disk (Redis, the catalog, logs) must be able to go on. */
export const FREE_SPACE_RESERVE = 64 * 1024 * 1024;

/** @throws RootfsError `no_space` unless so many bytes, and a reserve, are free on the disk that holds the path */
export function requireFreeSpace(path: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(path);
  const free = bavail * bsize;
  if (free >= bytes + FREE_SPACE_RESERVE) return;
  throw new RootfsError(
    'no_space',
    `no space left on the disk of the data directory: ${bytes} bytes are needed beside a reserve of ${FREE_SPACE_RESERVE}, ${free} are free; free some and pull again`,
  );
}
