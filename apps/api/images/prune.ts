import { evictLayers, type Store } from '@bhatti/store';
import { type ClaimKind, layerLease, liveTask, TaskClaims, takeLease } from '@bhatti/tasks';
import type { TaskService } from '../tasks/task-service.ts';

/** What a prune freed, or would free. */
export interface Pruned {
  /** Bytes on disk. */
  readonly freedBytes: number;
  /** Cached layers. */
  readonly layers: number;
  /** Root file systems that no image points to. */
  readonly rootfs: number;
  /** Partial downloads that no task goes on with. */
  readonly downloads: number;
}

/** Removes from the disk what neither an image nor a task under way needs, and what dead processes left. */
export async function prune(store: Store, tasks: TaskService, dryRun: boolean): Promise<Pruned> {
  const layers = await evictLayers(store.layers, {
    bytes: Number.POSITIVE_INFINITY,
    isNeeded: (diffId) => isWanted(tasks, 'layer', diffId),
    dryRun,
  });
  const rootfs = await pruneRootfs(store, tasks, dryRun);
  const downloads = await prunePartials(store, tasks, dryRun);
  if (!dryRun) await store.collectOrphans();
  return {
    freedBytes: sumOf(layers.map(({ allocatedBytes }) => allocatedBytes)) + sumOf(rootfs) + sumOf(downloads),
    layers: layers.length,
    rootfs: rootfs.length,
    downloads: downloads.length,
  };
}

function isWanted(tasks: TaskService, kind: ClaimKind, digest: string): Promise<boolean> {
  return tasks.withQueue(({ queue, redis }) => new TaskClaims(redis, kind, liveTask(queue)).isWanted(digest));
}

/** Resolves with the bytes that each one took. */
async function pruneRootfs(store: Store, tasks: TaskService, dryRun: boolean): Promise<number[]> {
  const sizes = new Map((await store.rootfs.content.list()).map((entry) => [entry.hex, entry.allocatedBytes]));
  return (await removeUnreferenced(store, tasks, dryRun)).map((key) => sizes.get(key) ?? 0);
}

/** Removes root filesystems that no image points to and no task is about to name; returns their keys. */
export function removeUnreferenced(store: Store, tasks: TaskService, dryRun = false): Promise<string[]> {
  return store.removeUnreferenced({ isNeeded: (key) => isWanted(tasks, 'rootfs', key), dryRun });
}

/** Resolves with the bytes that each one took. */
async function prunePartials({ partials }: Store, tasks: TaskService, dryRun: boolean): Promise<number[]> {
  const sizes: number[] = [];
  for (const digest of await partials.list()) {
    // A download in progress holds the lease; one that gets it after us starts from the first byte.
    const lease = await tasks.withQueue(({ redis }) => takeLease(redis, layerLease(digest)));
    if (lease === null) continue;
    try {
      if (await isWanted(tasks, 'partial', digest)) continue;
      sizes.push(await partials.size(digest));
      if (!dryRun) await partials.remove(digest);
    } finally {
      await lease.release();
    }
  }
  return sizes;
}

function sumOf(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + size, 0);
}
