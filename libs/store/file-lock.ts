import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StoreError, systemCode } from './error.ts';
import { isAlive, ownIdentity } from './process-identity.ts';
import { parseTemporaryName, temporaryName } from './temporary-name.ts';

/** Ms to wait for a lock; what is done under one takes milliseconds. */
const patience = 10_000;
const pollInterval = 20;

/**
 * Ms of waiting after which the lock of one process of another host, of which nobody can tell from here, counts as left behind. Time
 * spent in waiting, because clocks differ: by its age, one that is a minute ahead would take away every lock.
 */
const foreignPatience = 5_000;

export interface FileLockOptions {
  /** Ms, in place of five seconds. */
  readonly foreignPatience?: number;
}

/**
 * Runs the work while no other process, on this host or another, holds the lock. The file holds a temporary name, which
 * says whose it is; that of a dead process is taken away. Rejects with StoreError `internal` (retryable) after 10 s.
 * @param work is given what rejects once the lock was taken away: asked just before what cannot be undone
 */
export async function withFileLock<T>(
  path: string,
  work: (requireHeld: () => Promise<void>) => Promise<T>,
  options: FileLockOptions = {},
): Promise<T> {
  const mine = temporaryName(await ownIdentity());
  await acquire(path, mine, options.foreignPatience ?? foreignPatience);
  const isHeld = async () => (await contentOf(path)) === mine;
  try {
    return await work(async () => {
      if (!(await isHeld())) throw heldByAnother(path);
    });
  } finally {
    if (await isHeld()) await rm(path, { force: true });
  }
}

async function acquire(path: string, mine: string, patienceWithForeign: number): Promise<void> {
  const temporary = join(dirname(path), mine);
  const began = performance.now();
  let watched: { readonly holder: string | undefined; readonly since: number } = { holder: undefined, since: began };
  await writeFile(temporary, mine, { mode: 0o600, flag: 'wx' });
  try {
    while (!(await linkNew(temporary, path))) {
      const holder = await contentOf(path);
      const now = performance.now();
      if (holder !== watched.holder) watched = { holder, since: now };
      if (holder !== undefined && (await isStale(holder, now - watched.since > patienceWithForeign))) {
        await removeStale(path, holder, join(dirname(path), temporaryName(await ownIdentity())));
      }
      if (now - began > patience) throw heldByAnother(path);
      await sleep(pollInterval);
    }
  } finally {
    await rm(temporary, { force: true });
  }
}

/** A link is exclusive and whole: nobody reads half of a lock. */
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
  try {
    await rename(path, aside);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  // Another may have taken the lock between the look and the rename: then it gets it back.
  if ((await contentOf(aside)) !== holder) await linkNew(aside, path);
  await rm(aside, { force: true });
}

/** @param isLong whether it has been seen to be this one's for long */
async function isStale(holder: string, isLong: boolean): Promise<boolean> {
  const maker = parseTemporaryName(holder);
  const alive = maker === undefined ? undefined : await isAlive(maker);
  return alive === undefined ? isLong : !alive;
}

function heldByAnother(path: string): StoreError {
  return new StoreError('internal', `another process holds ${path}; try again`, { retryable: true });
}

async function contentOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
