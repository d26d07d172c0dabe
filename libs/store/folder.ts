import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { StoreError, systemCode } from './error.ts';
import { ifThere } from './if-there.ts';

/** The names in a folder; none if it does not exist, or is a file: people remove our folders, and put files into them. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

/**
 * Makes a folder and its parents where they are missing (mkdir -p). Used instead of Node's `recursive`, which reports ENOENT whatever the
 * reason, such as a full or read-only disk.
 */
export async function makeFolders(path: string, mode: number): Promise<void> {
  try {
    await makeFolder(path, mode);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolders(dirname(path), mode);
    await makeFolder(path, mode);
  }
}

async function makeFolder(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    // Some file systems report another error than EEXIST for an existing folder.
    const there = await ifThere(stat(path)).catch(() => undefined);
    if (!there?.isDirectory()) throw error;
  }
}

/**
 * Makes a folder of content again (mode 0700) where it is missing, as whoever empties `layers/` or `partial/` removes it. But not its parent:
 * where `layers/` itself is gone, its disk has most likely been unmounted, and what is under the mount point is on another disk.
 *
 * @throws StoreError `not_writable` when the parent is gone
 */
export async function remakeFolder(folder: string): Promise<void> {
  try {
    await makeFolder(folder, 0o700);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw new StoreError(
      'not_writable',
      `${dirname(folder)} is not there any more: it was removed, or its disk unmounted; put it back, or start the server again`,
    );
  }
}
