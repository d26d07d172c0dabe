import type { LayerCompression } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import { formatBytes } from '@bhatti/tasks';
import { WorkerError } from './failure.ts';

/** A layer as far as its room on disk goes. */
export interface LayerSpace {
  /** Bytes of the blob. */
  readonly size: number;
  readonly compression: LayerCompression;
  /** Whether it has still to be fetched and decoded. */
  readonly missing: boolean;
}

/**
 * Compressed layers of real images grow 2 to 3 times. The low end, because refusing a pull that would fit is worse than
 * failing one that does not: that one ends with `no_space` too, and gives back what it took.
 */
const GROWTH = 2;

/** Bytes that a pull will take at least: decoded layers that are not in the cache, and the image of all layers. */
export function estimateSpace(layers: readonly LayerSpace[]): number {
  let bytes = 0;
  for (const layer of layers) {
    const decoded = layer.compression === 'none' ? layer.size : layer.size * GROWTH;
    bytes += layer.missing ? 2 * decoded : decoded;
  }
  return bytes;
}

/** @throws WorkerError `no_space` when fewer bytes are free where the store is */
export async function requireSpace(store: Pick<Store, 'directory' | 'freeBytes'>, bytes: number): Promise<void> {
  const free = await store.freeBytes();
  if (free >= bytes) return;
  throw new WorkerError(
    'no_space',
    `the pull needs about ${formatBytes(bytes)} in ${store.directory}, ${formatBytes(free)} are free; free some and pull again`,
  );
}
