import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { syncFolder, syncToDisk } from './durable-file.ts';
import { systemCode } from './error.ts';
import { ownIdentity } from './process-identity.ts';

/** Name of the file that marks a published folder as not yet synced. */
const UNSYNCED = 'unsynced';

const marker = z.object({ host: z.string(), bootId: z.string() });

/** What a marker means on this host now. `lost`: the machine went down before the files were synced, so they may be damaged. */
export type SyncState = 'synced' | 'unsynced' | 'unsynced elsewhere' | 'lost';

/** Marks a folder, which is about to be published, as not yet synced. */
export async function markUnsynced(folder: string): Promise<void> {
  const { host, bootId } = await ownIdentity();
  await writeFile(join(folder, UNSYNCED), `${JSON.stringify({ host, bootId })}\n`, { mode: 0o600 });
}

/** The state of a published folder, by its marker. */
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
  // Even the marker is incomplete, which only a crash of the machine explains.
  if (!parsed.success) return 'lost';
  const self = await ownIdentity();
  // The host names may differ: another container of this machine, or the host was renamed.
  if (parsed.data.bootId === self.bootId) return 'unsynced';
  return parsed.data.host === self.host ? 'lost' : 'unsynced elsewhere';
}

const failedSync = z.object({ syscall: z.literal('fsync') });
const NOT_TAKEN: ReadonlySet<string> = new Set(['EIO', 'ENOSPC', 'EDQUOT']);

/** The disk failed to store what was written to a published folder. */
export class LostByDisk extends Error {
  override readonly name = 'LostByDisk';
}

/**
 * Syncs a published folder and its own name, then removes the marker and syncs that, too.
 *
 * @throws LostByDisk when the disk failed to store the files. Trying again would be no help: Linux reports the failure once, drops the
 * pages that it could not write, and the next fsync(2) succeeds.
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
