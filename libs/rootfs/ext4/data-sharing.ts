import { execFile } from 'node:child_process';
import { statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { toolEnvironment } from '../e2fsprogs.ts';
import { DATA_FILE } from '../layer/layer-index.ts';
import type { CopyRun } from './copy-run.ts';
import { BLOCK_SIZE } from './format.ts';

const runTool = promisify(execFile);

/** File systems whose files can share blocks, by the magic number of statfs(2). XFS can unless it was made with reflink=0. */
const SHARING = new Set([0x58465342 /* XFS */, 0x9123683e /* btrfs */]);

/** Blocks of the smallest run that is shared, 128 KiB: copying less costs little, and an image should not be in a hundred thousand pieces. */
const SMALLEST = 32;

/** Most bytes of xfs_io's answer, of which each run takes a hundred. */
const ANSWER = 256 * 1024 * 1024;

/**
 * Lets an image share blocks with the layers' data where the file system can (ioctl_ficlonerange(2)): nothing is copied, the disk holds the
 * data once, and the first write to either file separates them. Node cannot call it, so this takes xfs_io(8), for btrfs too, and does nothing
 * where that is not installed.
 *
 * @param layers directories of the layer cache, by layer number
 * @returns the runs that remain to be copied; all that are not shared yet when the signal is aborted
 */
export async function shareData(
  runs: readonly CopyRun[],
  layers: readonly string[],
  image: string,
  signal?: AbortSignal,
): Promise<readonly CopyRun[]> {
  const large = runs.filter(({ blocks }) => blocks >= SMALLEST);
  if (large.length === 0 || !SHARING.has((await statfs(image)).type)) return runs;
  const shared = new Set<CopyRun>();
  for (const [layer, ofLayer] of byLayer(large)) {
    const answer = await ask(layers[layer] ?? '', image, ofLayer, signal);
    for (const run of linkedRuns(answer, ofLayer)) shared.add(run);
  }
  return runs.filter((run) => !shared.has(run));
}

function byLayer(runs: readonly CopyRun[]): Map<number, CopyRun[]> {
  const groups = new Map<number, CopyRun[]>();
  for (const run of runs) {
    const group = groups.get(run.layer);
    if (group === undefined) groups.set(run.layer, [run]);
    else group.push(run);
  }
  return groups;
}

/** What xfs_io answers; nothing where it is missing or fails: then the data is copied, and that tells what is wrong, if anything is. */
async function ask(
  directory: string,
  image: string,
  runs: readonly CopyRun[],
  signal: AbortSignal | undefined,
): Promise<string> {
  // It splits commands at spaces, which a path may have: its working directory is where the data is.
  const asked = runTool('xfs_io', [resolve(image)], {
    cwd: directory,
    env: toolEnvironment(),
    signal,
    maxBuffer: ANSWER,
  });
  const { stdin } = asked.child;
  stdin?.on('error', () => {});
  stdin?.end(runs.map((run) => `reflink ${DATA_FILE} ${offsets(run).join(' ')}\n`).join(''));
  try {
    return (await asked).stdout;
  } catch {
    return '';
  }
}

/** The runs that an answer says are linked whole. Its exit code says nothing: it is 0 also where nothing could be linked. */
function linkedRuns(answer: string, runs: readonly CopyRun[]): CopyRun[] {
  const linked = new Map<number, number>();
  for (const [, bytes, to] of answer.matchAll(/linked (\d+)\/\1 bytes at offset (\d+)/g))
    linked.set(Number(to), Number(bytes));
  return runs.filter((run) => {
    const [, to, bytes] = offsets(run);
    return linked.get(to) === bytes;
  });
}

/** In the data, in the image, and the length; in bytes. */
function offsets({ from, to, blocks }: CopyRun): [from: number, to: number, bytes: number] {
  return [from * BLOCK_SIZE, to * BLOCK_SIZE, blocks * BLOCK_SIZE];
}
