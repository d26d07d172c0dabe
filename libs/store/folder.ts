import { readdir } from 'node:fs/promises';
import { systemCode } from './error.ts';

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
