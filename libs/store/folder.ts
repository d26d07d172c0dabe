import { mkdir, readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from './error.ts';
import { statIfThere } from './file-status.ts';

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
    const there = await statIfThere(path).catch(() => undefined);
    if (!there?.isDirectory()) throw error;
  }
}
