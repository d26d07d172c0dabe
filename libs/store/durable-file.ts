import { chmod, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ownIdentity } from './process-identity.ts';
import { parseTemporaryName, temporaryName } from './temporary-name.ts';

/** Brings a file, or the names in a folder, to the disk. See `LostByDisk` for what it means when that fails. */
export async function syncToDisk(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export interface WriteOptions {
  /** Asked last, when all that takes time is done, with the path of the temporary file; when it rejects the old content stays. */
  readonly confirm?: (temporary: string) => Promise<void>;
  /** Of the temporary file, see `temporaryName`. */
  readonly label?: string;
}

/** Writes a small file so that, whatever happens, either the old content or the new one is there, whole. Mode 0600. */
export async function writeDurably(
  path: string,
  content: string,
  { confirm, label }: WriteOptions = {},
): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, temporaryName(await ownIdentity(), label));
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await confirm?.(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncToDisk(folder);
}

/** Syncs the files of a folder (not below it), then the folder. What another is writing there this moment is its own to sync. */
export async function syncFolder(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (parseTemporaryName(name) === undefined) await syncToDisk(join(folder, name));
  }
  await syncToDisk(folder);
}

/** Takes group's and others' permissions from the files of a folder: they were written by code that knows no modes. */
export async function makePrivate(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await chmod(join(folder, name), 0o600);
}
