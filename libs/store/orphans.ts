import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { storing, systemCode } from './error.ts';
import { namesIn } from './folder.ts';
import { isAlive } from './process-identity.ts';
import { parseTemporaryName, temporaryLabel } from './temporary-name.ts';
import { toTheEnd } from './to-the-end.ts';

/**
 * Ms without a change after which what a process of another machine (or container) was making counts as left behind:
 * from here nobody can tell whether it lives.
 */
const foreignAge = 24 * 3600 * 1000;

/** What other parts write beside a small file before they link or rename it to that: there for milliseconds, unless they died. */
const unlinked = /^(?:(?:token|secret\.key)\.[0-9a-f-]{36}|api\.json\.\d+|serve\.pid\.\d+\.tmp|write-check)$/;

/** Removes such files from the folder once they are as old. Rejects with the first failure, after all others. */
export async function removeUnlinked(folder: string): Promise<void> {
  await collecting(folder, async (name) => {
    const path = join(folder, name);
    if (unlinked.test(name) && Date.now() - (await changeTime(path)) > foreignAge) await rm(path, { force: true });
  });
}

/**
 * Removes from the folder what processes that are dead were making. Rejects with the first failure, after all others.
 * @param onLabelled what to do instead with what has a label; asked for its path and the label
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

/** Of the path or of any file in it, whichever is later: a file that grows does not change its folder. */
async function lastChange(path: string): Promise<number> {
  let latest = await changeTime(path);
  for (const name of await namesIn(path)) latest = Math.max(latest, await changeTime(join(path, name)));
  return latest;
}

async function changeTime(path: string): Promise<number> {
  try {
    return (await lstat(path)).mtimeMs;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return Number.NEGATIVE_INFINITY;
    throw error;
  }
}
