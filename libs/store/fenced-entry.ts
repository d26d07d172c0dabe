import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { syncToDisk, writeDurably } from './durable-file.ts';
import { StoreError, systemCode } from './error.ts';
import { namesIn } from './folder.ts';
import { ifThere } from './if-there.ts';
import { ownIdentity } from './process-identity.ts';
import { temporaryLabel, temporaryName } from './temporary-name.ts';

/** Attempts to write an entry while others write the same one, and each revokes what the others have not renamed yet. */
const MOST_TRIES = 20;

/** Errors of renaming a file that another process has removed; the second one over NFS. */
const REVOKED: ReadonlySet<string> = new Set(['ENOENT', 'ESTALE']);

/**
 * Writes the entry of a name, so that no other writer, however late it wakes, overwrites it unnoticed (decision 019).
 *
 * @param confirm called just before the change, and again if others write the same name; if it rejects, nothing is changed
 * @throws StoreError `internal` (retryable) when others keep writing it
 */
export async function writeEntry(
  path: string,
  name: string,
  content: string,
  confirm: () => Promise<void>,
): Promise<void> {
  await unlessRevoked(name, () => writeOnce(path, name, content, confirm));
}

/** Removes the entry of a name, if it is the one that was confirmed; false when there is none. See `writeEntry`. */
export async function removeConfirmedEntry(path: string, name: string, confirm: () => Promise<void>): Promise<boolean> {
  return (await unlessRevoked(name, () => buryEntry(path, name, confirm))) === 'gone';
}

/**
 * Undefined when another process is writing the same name: then `confirm` has to be called again. Our temporary file exists before we
 * remove those of others, so of two concurrent writers, the later one either removes the other's file, or confirms after the other is done.
 */
async function writeOnce(
  path: string,
  name: string,
  content: string,
  confirm: () => Promise<void>,
): Promise<'written' | undefined> {
  let confirmed = false;
  const asked = async (temporary: string) => {
    await revokeWrites(path, name, temporary);
    await confirm();
    confirmed = true;
  };
  try {
    await writeDurably(path, content, { confirm: asked, label: name });
    return 'written';
  } catch (error) {
    if (confirmed && REVOKED.has(systemCode(error) ?? '')) return undefined;
    throw error;
  }
}

/**
 * Removes the files that others have written to become the entry of this name, and have not renamed yet, so that they cannot overwrite
 * ours. A writer may have been suspended between its confirmation and its rename, and resume at any time.
 */
async function revokeWrites(path: string, name: string, mine?: string): Promise<void> {
  const folder = dirname(path);
  for (const file of await namesIn(folder)) {
    // Checked first, since an owner may have a thousand images.
    if (temporaryLabel(file) !== name) continue;
    const other = join(folder, file);
    // A folder (see `buryEntry`) may receive its entry while it is being removed.
    if (other !== mine) await rm(other, { recursive: true, force: true, maxRetries: 5, retryDelay: 10 });
  }
}

/** Removes the entry, whatever it is. Needs no space, so that it works on a full disk. */
export async function removeEntry(path: string, name: string): Promise<boolean> {
  await revokeWrites(path, name);
  try {
    await rm(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
  await syncToDisk(dirname(path));
  return true;
}

/**
 * Removes the entry that was confirmed, and none that came later: it is renamed into a folder that has the name as its label. Whoever
 * writes an entry of that name removes the folder first, which makes this rename fail. Undefined: that happened, confirm again.
 */
async function buryEntry(
  path: string,
  name: string,
  confirm: () => Promise<void>,
): Promise<'gone' | 'none' | undefined> {
  const grave = join(dirname(path), temporaryName(await ownIdentity(), name));
  try {
    await mkdir(grave, { mode: 0o700 });
  } catch (error) {
    // This owner has never had an image.
    if (systemCode(error) === 'ENOENT') return 'none';
    throw error;
  }
  try {
    await revokeWrites(path, name, grave);
    await confirm();
    try {
      await rename(path, join(grave, 'entry'));
    } catch (error) {
      if (!REVOKED.has(systemCode(error) ?? '')) throw error;
      return (await ifThere(stat(grave))) === undefined ? undefined : 'none';
    }
    await syncToDisk(dirname(path));
    return 'gone';
  } finally {
    await rm(grave, { recursive: true, force: true });
  }
}

/** Repeats a change, after a short pause, that another process has revoked. @throws StoreError `internal` after `MOST_TRIES` */
async function unlessRevoked<T>(name: string, change: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const changed = await change();
    if (changed !== undefined) return changed;
    if (tries === MOST_TRIES) throw contended(name);
    await sleep(Math.random() * 20 * tries);
  }
}

function contended(name: string): StoreError {
  return new StoreError('internal', `others keep writing the image ${name}; try again`, { retryable: true });
}
