import { chmod, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ownIdentity } from './process-identity.ts';
import { parseTemporaryName, temporaryName } from './temporary-name.ts';

/** Syncs a file, or the names in a folder (fsync(2)). See `LostByDisk` for what a failure means. */
export async function syncToDisk(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export interface WriteOptions {
  /** Called just before the rename, with the path of the temporary file; if it rejects, the old content stays. */
  readonly confirm?: (temporary: string) => Promise<void>;
  /** Label of the temporary file; see `temporaryName`. */
  readonly label?: string;
}

/** Replaces a small file atomically and durably: whatever happens, it has either the old or the new content. Mode 0600. */
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

/** Syncs the files in a folder (not in its subfolders), then the folder. Temporary files are left to their writers. */
export async function syncFolder(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (parseTemporaryName(name) === undefined) await syncToDisk(join(folder, name));
  }
  await syncToDisk(folder);
}

/** Makes the files in a folder private: they were written by code that does not set modes. */
export async function makePrivate(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await chmod(join(folder, name), 0o600);
}
