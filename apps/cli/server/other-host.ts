import { randomBytes } from 'node:crypto';
import { rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { LOCK_EXPIRY } from '../serve/pid-lock.ts';
import { readApiAddress } from '../serve/stack-state.ts';

/**
 * The other host whose API uses this data directory; undefined if there is none. A record that its API has not refreshed was left
 * behind.
 */
export async function otherHost(apiFile: string): Promise<string | undefined> {
  const { host } = await readApiAddress(apiFile);
  if (host === undefined || host === hostname()) return undefined;
  const record = await stat(apiFile).catch(() => undefined);
  if (record === undefined || (await fileSystemTime(apiFile)) - record.mtimeMs > LOCK_EXPIRY) return undefined;
  return host;
}

/** Now, in ms, by the clock of the file system, as the hosts' own clocks differ; by this host's where it cannot be asked. */
async function fileSystemTime(apiFile: string): Promise<number> {
  // libs/store/orphans.ts knows the form.
  const probe = `${apiFile}.${randomBytes(4).toString('hex')}`;
  try {
    await writeFile(probe, '', { mode: 0o600 });
    return (await stat(probe)).mtimeMs;
  } catch {
    return Date.now();
  } finally {
    await rm(probe, { force: true }).catch(() => undefined);
  }
}
