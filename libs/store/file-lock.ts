import { link, lstat, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StoreError, systemCode } from './error.ts';
import { ifThere, renameIfThere } from './if-there.ts';
import { isAlive, ownIdentity } from './process-identity.ts';
import { parseTemporaryName, temporaryName } from './temporary-name.ts';

/** Ms to wait for a lock; work under a lock takes milliseconds. */
const patience = 10_000;
const pollInterval = 20;

/**
 * Ms of waiting after which a lock held by the same process of another host, whose state is unknown here, counts as abandoned. Time spent
 * waiting is used rather than the file's age, because clocks differ: a host that is a minute ahead would break every lock.
 */
const foreignPatience = 5_000;

export interface FileLockOptions {
  /** In ms; see the constant of this name, which is the default. */
  readonly foreignPatience?: number;
}

/**
 * Runs the work while no other process, on this host or another, holds the lock. The lock file contains a temporary name, which
 * identifies its holder; that of a dead process is removed. A file of that name is there for as long as the lock is wanted. Rejects
 * with StoreError `internal` (retryable) after 10 s.
 *
 * @param work gets a function that rejects if the lock has been lost, to be called just before anything irreversible
 */
export async function withFileLock<T>(
  path: string,
  work: (requireHeld: () => Promise<void>) => Promise<T>,
  options: FileLockOptions = {},
): Promise<T> {
  const mine = temporaryName(await ownIdentity());
  const temporary = join(dirname(path), mine);
  try {
    await writeFile(temporary, mine, { mode: 0o600, flag: 'wx' });
    await acquire(path, mine, options.foreignPatience ?? foreignPatience);
    return await work(async () => {
      if (!(await isHeldBy(path, mine))) throw heldByAnother(path);
    });
  } finally {
    // In this order: who gives the lock back meanwhile sees that it is not wanted any more, or it is removed here.
    await rm(temporary, { force: true });
    await removeLock(path, mine);
  }
}

async function isHeldBy(path: string, holder: string): Promise<boolean> {
  return (await ifThere(readFile(path, 'utf8'))) === holder;
}

async function removeLock(path: string, holder: string): Promise<void> {
  if (await isHeldBy(path, holder)) await rm(path, { force: true });
}

async function acquire(path: string, mine: string, patienceWithForeign: number): Promise<void> {
  const began = performance.now();
  let watched: { readonly holder: string | undefined; readonly since: number } = { holder: undefined, since: began };
  while (!(await linkNew(join(dirname(path), mine), path))) {
    const holder = await ifThere(readFile(path, 'utf8'));
    const now = performance.now();
    if (holder !== watched.holder) watched = { holder, since: now };
    if (holder !== undefined && (await isStale(holder, now - watched.since > patienceWithForeign))) {
      await removeStale(path, holder, join(dirname(path), temporaryName(await ownIdentity())));
    }
    if (now - began > patience) throw heldByAnother(path);
    await sleep(pollInterval);
  }
}

/** Creates the lock with its content in one exclusive step; false when it exists already. */
async function linkNew(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

async function removeStale(path: string, holder: string, aside: string): Promise<void> {
  if (!(await renameIfThere(path, aside))) return;
  const found = await ifThere(readFile(aside, 'utf8'));
  if (found !== undefined && found !== holder) await giveBack(path, found, aside);
  await rm(aside, { force: true });
}

/** Another process had acquired the lock between the check and the rename: it gets it back, if it still wants it. */
async function giveBack(path: string, holder: string, aside: string): Promise<void> {
  await linkNew(aside, path);
  // Of a holder that is done, and lives, it would keep all others out.
  const isWanted = parseTemporaryName(holder) === undefined || (await ifThere(lstat(join(dirname(path), holder))));
  if (!isWanted) await removeLock(path, holder);
}

/** @param isLong whether this holder has been seen for longer than the patience with foreign ones */
async function isStale(holder: string, isLong: boolean): Promise<boolean> {
  const maker = parseTemporaryName(holder);
  const alive = maker === undefined ? undefined : await isAlive(maker);
  return alive === undefined ? isLong : !alive;
}

function heldByAnother(path: string): StoreError {
  return new StoreError('internal', `another process holds ${path}; try again`, { retryable: true });
}
