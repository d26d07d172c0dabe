import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Store } from '@bhatti/store';
import type { RedisClient } from '@bhatti/tasks';
import { KEY_PREFIX, QUEUE_NAME, type TaskView } from '@bhatti/tasks';
import type { ChaosImage } from './image-set.ts';

const run = promisify(execFile);

const OWNER = 'local';

/** A task that the API accepted, and what may happen to it. */
export interface AcceptedTask {
  readonly type: 'pull' | 'import';
  readonly image: ChaosImage;
  readonly name: string;
  /** Somebody asked for it to be cancelled. */
  cancelled: boolean;
}

/** What is wrong with how the tasks ended. `deaths` counts the workers that died, by task. */
export function checkTasks(
  accepted: ReadonlyMap<string, AcceptedTask>,
  views: ReadonlyMap<string, TaskView | undefined>,
  deaths: ReadonlyMap<string, number>,
): string[] {
  const wrong: string[] = [];
  /** The same archive gives the same image each time. */
  const imported = new Map<string, string | undefined>();
  for (const [id, { type, image, cancelled }] of accepted) {
    const view = views.get(id);
    const digest = view?.result?.digest;
    if (type === 'import' && digest !== undefined && !imported.has(image.id)) imported.set(image.id, digest);
    const expected = type === 'pull' ? image.digest : imported.get(image.id);
    if (view === undefined) wrong.push(`${id}: accepted, and not there any more`);
    else if (view.status === 'completed' && digest !== expected) wrong.push(`${id}: wrong digest`);
    else if (view.status === 'cancelled' && !cancelled) wrong.push(`${id}: cancelled, and nobody asked for it`);
    else if (view.status === 'queued' || view.status === 'running') wrong.push(`${id}: never ended, ${view.status}`);
    else if (view.status === 'failed') wrong.push(...checkFailure(id, view, deaths.get(id) ?? 0));
  }
  return wrong;
}

/** The only good reasons to fail: the disk was filled, or workers were killed five times over the same task. */
function checkFailure(id: string, { error }: TaskView, deaths: number): string[] {
  if (error?.code === 'no_space') return [];
  if (error?.code === 'worker_crashed' && deaths >= 5) return [];
  return [`${id}: failed without reason: ${error?.code}: ${error?.message}`];
}

/** Checks every listed image with e2fsck. `expected` has the images that were pulled, by name. */
export async function checkImages(
  store: Store,
  expected: ReadonlyMap<string, ChaosImage>,
): Promise<{ readonly checked: number; readonly wrong: string[] }> {
  const wrong: string[] = [];
  const entries = await store.images.list(OWNER);
  const keys = new Set(entries.map((entry) => entry.rootfsKey));
  for (const entry of entries) {
    const pulled = expected.get(entry.name);
    if (pulled !== undefined && entry.manifestDigest !== pulled.digest) wrong.push(`${entry.name}: wrong digest`);
  }
  for (const key of keys) {
    try {
      await run('e2fsck', ['-fn', store.rootfs.path(key)], {
        env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
      });
    } catch (error) {
      wrong.push(`rootfs ${key}: ${String(error)}`);
    }
  }
  return { checked: keys.size, wrong };
}

/** Files that nothing owns: temporary ones, partial downloads and uploads. All tasks have ended by now. */
export async function checkFiles(store: Store): Promise<string[]> {
  const wrong: string[] = [];
  for (const folder of ['layers/sha256', 'rootfs/sha256', 'partial/sha256', 'uploads', `images/${OWNER}`]) {
    for (const name of await readdir(join(store.directory, folder)).catch(() => [])) {
      const isOwned = folder !== 'partial/sha256' && folder !== 'uploads' && /^([0-9a-f]{64}|[^.].*\.json)$/.test(name);
      if (!isOwned) wrong.push(`left behind: ${folder}/${name}`);
    }
  }
  return wrong;
}

/** Keys that only tasks under way may have (locks, deduplication, waiting and active lists), and those that should expire but will not. */
export async function checkKeys(redis: RedisClient): Promise<string[]> {
  const queue = `${KEY_PREFIX}:${QUEUE_NAME}`;
  const underWay = new RegExp(`^${escaped(queue)}:(?:.*:lock|de:.*|wait|active|delayed|prioritized|paused|stalled)$`);
  // Left for a week by a worker that died after the end of its task and before their removal, or that hung before it made a claim or
  // took a lease, and woke only when another had ended the task. Claims of ended tasks have no effect, and leases last 6 s.
  const passing = new RegExp(`^${escaped(KEY_PREFIX)}:(?:begun|outcome|task-claims|lease):`);
  const wrong: string[] = [];
  for (const key of await redis.keys(`${KEY_PREFIX}:*`)) {
    if (underWay.test(key) || (passing.test(key) && (await redis.ttl(key)) < 0)) wrong.push(`left in Redis: ${key}`);
  }
  return wrong;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
