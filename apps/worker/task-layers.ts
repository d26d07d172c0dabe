import { evictLayer } from '@bhatti/store';
import type { PullServices } from './services.ts';

/** The task needs its layers no more. */
export async function releaseLayers({ claims }: PullServices, taskId: string): Promise<void> {
  await claims.layer.release(taskId);
  await claims.fetched.release(taskId);
}

/** Removes the layers that a task had to fetch, except those that another needs: it found the disk full. */
export async function removeFetchedLayers({ claims, store }: PullServices, taskId: string): Promise<void> {
  for (const diffId of await claims.fetched.of(taskId)) {
    await evictLayer(store.layers, diffId, (layer) => claims.layer.isWanted(layer, taskId));
  }
}
