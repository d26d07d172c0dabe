import { mkdir, readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from './error.ts';
import { statIfThere } from './file-status.ts';

/** The names in a folder; none where there is no such folder, or a file in its place: other people remove folders, and put files into ours. */
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
 * Makes a folder where there is none, and those that it is in (mkdir -p). In place of Node's `recursive`, which says ENOENT whatever it
 * was: a disk that is full, or read-only.
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
    // Some file systems refuse before they look whether it is there.
    const there = await statIfThere(path).catch(() => undefined);
    if (!there?.isDirectory()) throw error;
  }
}
