import { isCurrentLayer } from '@bhatti/rootfs';
import type { Store } from '@bhatti/store';

/** Whether the layer is in the cache, decoded by a version that reads tars as this one does. Others count as absent. */
export async function hasLayer({ layers }: Store, diffId: string): Promise<boolean> {
  return (await layers.has(diffId)) && (await isCurrentLayer(layers.directory(diffId)));
}

/** Removes a cached layer that another version decoded, or that is damaged, so that it can be published again. */
export async function removeOutdatedLayer(store: Store, diffId: string): Promise<void> {
  if ((await store.layers.has(diffId)) && !(await hasLayer(store, diffId))) await store.layers.remove(diffId);
}
