import { dirname, join } from 'node:path';
import { CliError } from '../cli-error.ts';
import { acquirePidLock, LOCK_REFRESH, type PidLock } from '../serve/pid-lock.ts';
import { hiddenName } from './hidden-name.ts';

/**
 * Runs `write` while no other export writes the file: two would share one partial file, and the first to end take it from the
 * other. Where no lock can be had (say, on a file system without links), it runs without. Rejects with CliError `already_running`.
 */
export async function withExportLock<T>(path: string, write: () => Promise<T>): Promise<T> {
  const lock = await lockOf(path);
  const refreshing = setInterval(() => void lock?.refresh().catch(() => undefined), LOCK_REFRESH);
  try {
    return await write();
  } finally {
    clearInterval(refreshing);
    await lock?.release().catch(() => undefined);
  }
}

async function lockOf(path: string): Promise<PidLock | undefined> {
  const acquired = await acquirePidLock(join(dirname(path), `${hiddenName(path)}.partial.lock`)).catch(() => undefined);
  if (acquired === undefined || 'lock' in acquired) return acquired?.lock;
  const { pid, host } = acquired.holder;
  throw new CliError('already_running', `another export writes ${path} (pid ${pid} on ${host})`, {
    hint: 'Wait for its end, or name another file with -o.',
  });
}
