import { link, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StoreError, systemCode } from './error.ts';
import { isAlive, ownIdentity } from './process-identity.ts';
import { parseTemporaryName, temporaryName } from './temporary-name.ts';

/** Ms to wait for a lock; what is done under one takes milliseconds. */
const patience = 10_000;
const pollInterval = 20;

/** Ms after which the lock of a process of another host, of which nobody can tell from here, counts as left behind. */
const foreignAge = 60_000;

/**
 * Runs the work while no other process, on this host or another, holds the lock. The file holds a temporary name, which
 * says whose it is; that of a dead process is taken away. Rejects with StoreError `internal` (retryable) after 10 s.
 */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const mine = temporaryName(await ownIdentity());
  await acquire(path, mine);
  try {
    return await work();
  } finally {
    if ((await contentOf(path)) === mine) await rm(path, { force: true });
  }
}

async function acquire(path: string, mine: string): Promise<void> {
  const temporary = join(dirname(path), mine);
  const until = Date.now() + patience;
  await writeFile(temporary, mine, { mode: 0o600, flag: 'wx' });
  try {
    while (!(await linkNew(temporary, path))) {
      await removeStale(path, join(dirname(path), temporaryName(await ownIdentity())));
      if (Date.now() > until) {
        throw new StoreError('internal', `another process holds ${path}; try again`, { retryable: true });
      }
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

async function removeStale(path: string, aside: string): Promise<void> {
  const holder = await contentOf(path);
  if (holder === undefined || !(await isStale(path, holder))) return;
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

async function isStale(path: string, holder: string): Promise<boolean> {
  const maker = parseTemporaryName(holder);
  const alive = maker === undefined ? undefined : await isAlive(maker);
  if (alive !== undefined) return !alive;
  const changed = await stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => Date.now(),
  );
  return Date.now() - changed > foreignAge;
}

async function contentOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
