/** The log of a detached stack (`run/serve.log`), to which its supervisor and all of its parts append. One old log is kept beside it. */
import { fstatSync } from 'node:fs';
import { copyFile, rename, rm, stat, truncate } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** Bytes at which a log is large. */
const LIMIT = 10_000_000;
/** Between two looks at how large a log in use is, ms. */
const LOOK = 5000;

/** Puts a large log aside, which nobody may be writing to. Resolves with the byte at which new lines will begin. */
export async function rotateLog(path: string): Promise<number> {
  const size = await logSize(path);
  if (size < LIMIT) return size;
  await rename(path, oldLog(path));
  return 0;
}

/** Bytes of the log; 0 when there is none. */
export async function logSize(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

/** Keeps this process's log small until the signal aborts; one look at a time, as a second copy might be of an emptied log. Never rejects. */
export async function keepLogSmall(path: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await trimLog(path);
    await delay(LOOK, undefined, { signal }).catch(() => undefined);
  }
}

/**
 * Copies a large log and empties it, while its writers keep it open and append: what they write between the two is lost. Leaves a log
 * that is not this process's own (`descriptor`), and one that cannot be copied. Never rejects.
 */
export async function trimLog(path: string, descriptor = 1): Promise<void> {
  if ((await logSize(path)) < LIMIT || !(await isOpenAs(descriptor, path))) return;
  try {
    await copyFile(path, oldLog(path));
    await truncate(path);
  } catch {
    await rm(oldLog(path), { force: true }).catch(() => undefined);
  }
}

async function isOpenAs(descriptor: number, path: string): Promise<boolean> {
  try {
    const [own, log] = [fstatSync(descriptor), await stat(path)];
    return own.ino === log.ino && own.dev === log.dev;
  } catch {
    return false;
  }
}

function oldLog(path: string): string {
  return `${path}.1`;
}
