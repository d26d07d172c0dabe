import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { storing } from './error.ts';
import { namesIn } from './folder.ts';
import { ifThere } from './if-there.ts';
import { isAlive } from './process-identity.ts';
import { parseTemporaryName, temporaryLabel } from './temporary-name.ts';
import { toTheEnd } from './to-the-end.ts';

/**
 * Ms without a change after which an unfinished file of another machine (or container) counts as abandoned: whether its process
 * is alive cannot be known here.
 */
const foreignAge = 24 * 3600 * 1000;

/** Temporary files of other parts, which they link or rename within milliseconds, unless they die. */
const unlinked = /^(?:(?:token|secret\.key)\.[0-9a-f-]{36}|api\.json\.[0-9a-f]{8}|serve\.pid\.\d+\.tmp|write-check)$/;

/** The name of an API's socket until it takes the place of `api.sock`, which is as long: the path may not be longer. */
const unlinkedSocket = /^[0-9a-f]{8}$/;

/** Removes such files from the folder once they are older than `foreignAge`. Rejects with the first failure, after trying all. */
export async function removeUnlinked(folder: string): Promise<void> {
  await collecting(folder, async (name) => {
    const path = join(folder, name);
    if (!unlinked.test(name) && !(unlinkedSocket.test(name) && (await isSocket(path)))) return;
    if (Date.now() - (await changeTime(path)) > foreignAge) await rm(path, { force: true });
  });
}

/**
 * Removes from the folder what dead processes have left unfinished. Rejects with the first failure, after trying all.
 *
 * @param onLabelled called, with its path and label, instead of removing something that has a label
 */
export async function removeOrphans(
  folder: string,
  onLabelled?: (path: string, label: string) => Promise<void>,
): Promise<void> {
  await collecting(folder, async (name) => {
    const maker = parseTemporaryName(name);
    if (maker === undefined) return;
    const path = join(folder, name);
    const alive = await isAlive(maker);
    if (alive === true) return;
    if (alive === undefined && Date.now() - (await lastChange(path)) < foreignAge) return;
    const label = temporaryLabel(name);
    if (label !== undefined && onLabelled !== undefined) await onLabelled(path, label);
    else await rm(path, { recursive: true, force: true });
  });
}

async function collecting(folder: string, work: (name: string) => Promise<void>): Promise<void> {
  await storing('collect orphans', async () => toTheEnd(await namesIn(folder), work));
}

/** Mtime in ms of the path or of any file in it, whichever is later: a growing file does not change its folder's. */
async function lastChange(path: string): Promise<number> {
  let latest = await changeTime(path);
  for (const name of await namesIn(path)) latest = Math.max(latest, await changeTime(join(path, name)));
  return latest;
}

async function changeTime(path: string): Promise<number> {
  return (await ifThere(lstat(path)))?.mtimeMs ?? Number.NEGATIVE_INFINITY;
}

async function isSocket(path: string): Promise<boolean> {
  return (await ifThere(lstat(path)))?.isSocket() ?? false;
}
