import { evictLayer } from '@bhatti/store';
import type { PullServices } from '../services.ts';

/** To be called when the task no longer needs its layers and its root filesystem. */
export async function releaseClaims({ claims, fetchedLayers }: PullServices, taskId: string): Promise<void> {
  await claims.layer.release(taskId);
  await claims.rootfs.release(taskId);
  await fetchedLayers.forget(taskId);
}

/** Removes the layers that a task had to fetch, except those that another needs. For a task that found the disk full. */
export async function removeFetchedLayers(
  { claims, fetchedLayers, store }: PullServices,
  taskId: string,
): Promise<void> {
  for (const diffId of await fetchedLayers.of(taskId)) {
    await evictLayer(store.layers, diffId, (layer) => claims.layer.isWanted(layer, taskId));
  }
}
