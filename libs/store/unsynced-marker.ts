import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { syncFolder, syncToDisk } from './durable-file.ts';
import { systemCode } from './error.ts';
import { ownIdentity } from './process-identity.ts';

/** Name of the file in a published folder that says: this may not be on the disk yet. */
const UNSYNCED = 'unsynced';

const marker = z.object({ host: z.string(), bootId: z.string() });

/** What a marker means here and now. `lost`: the machine went down before the files were synced; they may be anything. */
export type SyncState = 'synced' | 'unsynced' | 'unsynced elsewhere' | 'lost';

export async function markUnsynced(folder: string): Promise<void> {
  const { host, bootId } = await ownIdentity();
  await writeFile(join(folder, UNSYNCED), `${JSON.stringify({ host, bootId })}\n`, { mode: 0o600 });
}

export async function syncStateOf(folder: string): Promise<SyncState> {
  let text: string;
  try {
    text = await readFile(join(folder, UNSYNCED), 'utf8');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'synced';
    throw error;
  }
  const parsed = marker.safeParse(parseJson(text));
  // Not even the marker is whole: a crash of the machine cut it.
  if (!parsed.success) return 'lost';
  const self = await ownIdentity();
  // Also of another container of this machine, or from before it was renamed.
  if (parsed.data.bootId === self.bootId) return 'unsynced';
  return parsed.data.host === self.host ? 'lost' : 'unsynced elsewhere';
}

const failedSync = z.object({ syscall: z.literal('fsync') });
const NOT_TAKEN: ReadonlySet<string> = new Set(['EIO', 'ENOSPC', 'EDQUOT']);

/** What was written to a published folder never came to the disk. */
export class LostByDisk extends Error {
  override readonly name = 'LostByDisk';
}

/**
 * Brings a published folder to the disk, also its own name, and takes the marker away: from the disk, too.
 *
 * @throws LostByDisk when the disk has not taken the files. To sync them again would be no help: Linux says so once, forgets what it could
 * not write, and the next fsync(2) succeeds.
 */
export async function syncPublished(folder: string, parent: string): Promise<void> {
  try {
    await syncFolder(folder);
  } catch (error) {
    if (!failedSync.safeParse(error).success || !NOT_TAKEN.has(systemCode(error) ?? '')) throw error;
    throw new LostByDisk('the disk did not take it', { cause: error });
  }
  await syncToDisk(parent);
  await rm(join(folder, UNSYNCED), { force: true });
  await syncToDisk(folder);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
