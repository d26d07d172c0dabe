import { unlink } from 'node:fs/promises';
import { systemCode } from './error.ts';

/** Removes a file, where there is one. In place of Node's `rm`, which takes what may not be removed for a folder, and says that it is none. */
export async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
