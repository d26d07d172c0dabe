/**
 * A lock file that names its holder, so that a stale one, left by a crash, can be told from one that is held. The file is linked
 * into place complete, so nobody ever reads half of it, and only one contender takes over a stale lock.
 */
import { link, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { systemErrorCode } from '../cli-error.ts';
import { identifyProcess, type ProcessIdentity, processIdentity, processState } from './process-identity.ts';

export interface PidLock {
  /** Shows processes on other hosts that share the folder, which cannot look up the holder, that it is alive. */
  refresh(): Promise<void>;
  /** False once it has been removed, most likely with the data directory, or another host has taken it. */
  isHeld(): Promise<boolean>;
  release(): Promise<void>;
}

/** A holder on another host that has not refreshed its lock for this long (ms) is considered dead. */
export const LOCK_EXPIRY = 60_000;
export const LOCK_REFRESH = 10_000;
/** Between looks at the claim of another contender, which takes a millisecond or so, ms. */
const CLAIM_PAUSE = 10;

/** Takes the lock at `path` for this process, or resolves with its holder. */
export async function acquirePidLock(path: string): Promise<{ lock: PidLock } | { holder: ProcessIdentity }> {
  const self = identifyProcess(process.pid);
  if (self === undefined) throw new Error('this process cannot be identified; is /proc mounted?');
  const temporary = `${path}.${self.pid}.tmp`;
  try {
    for (;;) {
      // Each time: how old a lock is, is told by the time of this file.
      await writeFile(temporary, JSON.stringify(self), { mode: 0o600 });
      if (await linkNew(temporary, path)) return { lock: heldLock(path, temporary, self) };
      const holder = await readHolder(path, temporary);
      if (holder === 'none') continue;
      if (holder.alive) return { holder: holder.identity };
      await removeStale(path, holder.identity, temporary);
    }
  } finally {
    await unlinkIfThere(temporary);
  }
}

/** Who holds the lock at `path`; undefined when nobody does. */
export async function pidLockHolder(path: string): Promise<ProcessIdentity | undefined> {
  const identity = await readIdentity(path);
  return identity !== undefined && processState(identity) !== 'dead' ? identity : undefined;
}

function heldLock(path: string, temporary: string, self: ProcessIdentity): PidLock {
  const mine = async () => isDeepStrictEqual(await readIdentity(path), self);
  return {
    isHeld: mine,
    refresh: async () => {
      if (!(await mine())) return;
      try {
        await writeFile(temporary, JSON.stringify(self), { mode: 0o600 });
        await rename(temporary, path);
      } catch (error) {
        await unlinkIfThere(temporary);
        throw error;
      }
    },
    release: async () => {
      if (await mine()) await unlink(path);
    },
  };
}

async function readHolder(
  path: string,
  temporary: string,
): Promise<{ identity: ProcessIdentity; alive: boolean } | 'none'> {
  const text = await readIfThere(path);
  if (text === undefined) return 'none';
  const identity = parseIdentity(text);
  // Not written by this program (linked files are whole), so there is no holder.
  if (identity === undefined) {
    await unlinkIfThere(path);
    return 'none';
  }
  const state = processState(identity);
  return { identity, alive: state === 'alive' || (state === 'unknown' && !(await expired(path, temporary))) };
}

/** Compares two timestamps of the file system, as the hosts' clocks differ. */
async function expired(path: string, temporary: string): Promise<boolean> {
  const [lock, now] = await Promise.all([stat(path).catch(() => undefined), stat(temporary)]);
  return lock === undefined || now.mtimeMs - lock.mtimeMs > LOCK_EXPIRY;
}

/**
 * Only the contender that created the claim file, named for the dead holder, may remove that holder's lock, and only after
 * reading it once more. So a late contender cannot remove the lock that another has taken meanwhile.
 */
async function removeStale(path: string, stale: ProcessIdentity, temporary: string): Promise<void> {
  const claim = `${path}.stale-${stale.pid}-${stale.startTime.replace(/\W/g, '')}`;
  if (!(await linkNew(temporary, claim))) {
    const claimant = await readHolder(claim, temporary);
    if (claimant !== 'none' && !claimant.alive) await unlinkIfThere(claim);
    else await delay(CLAIM_PAUSE);
    return;
  }
  try {
    if (isDeepStrictEqual(await readIdentity(path), stale)) await unlinkIfThere(path);
  } finally {
    await unlinkIfThere(claim);
  }
}

async function readIdentity(path: string): Promise<ProcessIdentity | undefined> {
  const text = await readIfThere(path);
  return text === undefined ? undefined : parseIdentity(text);
}

function parseIdentity(text: string): ProcessIdentity | undefined {
  try {
    return processIdentity.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

async function linkNew(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
}
