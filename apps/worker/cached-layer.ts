import { isCurrentLayer } from '@bhatti/rootfs';
import type { Store } from '@bhatti/store';

/** Whether the layer is in the cache, as this version reads tars. One that another version has read counts as absent. */
export async function hasLayer({ layers }: Store, diffId: string): Promise<boolean> {
  return (await layers.has(diffId)) && (await isCurrentLayer(layers.directory(diffId)));
}

/** Takes the layer out of the cache that another version has read, or that is damaged, so that it can be published anew. */
export async function removeOutdatedLayer(store: Store, diffId: string): Promise<void> {
  if ((await store.layers.has(diffId)) && !(await hasLayer(store, diffId))) await store.layers.remove(diffId);
}
