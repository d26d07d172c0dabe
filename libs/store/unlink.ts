import { unlink } from 'node:fs/promises';
import { systemCode } from './error.ts';

/** Removes a file if it exists. Used instead of Node's `rm`, which reports ENOTDIR where permissions forbid the removal. */
export async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
