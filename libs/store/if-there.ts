import { rename, unlink } from 'node:fs/promises';
import { systemCode } from './error.ts';

/** What a file operation resolves to; undefined when there is no such file. */
export async function ifThere<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Returns false when `from` does not exist. */
export async function renameIfThere(from: string, to: string): Promise<boolean> {
  return (await ifThere(rename(from, to).then(() => true))) ?? false;
}

/** Removes a file if it exists. Used instead of Node's `rm`, which reports ENOTDIR where permissions forbid the removal. */
export async function unlinkIfThere(path: string): Promise<void> {
  await ifThere(unlink(path));
}
