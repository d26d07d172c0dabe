import type { LayerCompression } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import { formatBytes } from '@bhatti/tasks';
import { WorkerError } from '../job/failure.ts';

/** What determines the disk space that a layer takes. */
export interface LayerSpace {
  /** Bytes of the blob. */
  readonly size: number;
  readonly compression: LayerCompression;
  /** Whether it has still to be fetched and decoded. */
  readonly missing: boolean;
}

/**
 * Compressed layers of real images grow 2 to 3 times. This is the low end, because refusing a pull that would fit is worse
 * than starting one that does not: that one fails with `no_space`, too, and frees what it took.
 */
const GROWTH = 2;

/** Bytes that a pull will take at least: the decoded layers that are not cached, and the image made of all layers. */
export function estimateSpace(layers: readonly LayerSpace[]): number {
  let bytes = 0;
  for (const layer of layers) {
    const decoded = layer.compression === 'none' ? layer.size : layer.size * GROWTH;
    bytes += layer.missing ? 2 * decoded : decoded;
  }
  return bytes;
}

/** @throws WorkerError `no_space` when fewer bytes are free on the disk of the store */
export async function requireSpace(store: Pick<Store, 'directory' | 'freeBytes'>, bytes: number): Promise<void> {
  const free = await store.freeBytes();
  if (free >= bytes) return;
  throw new WorkerError(
    'no_space',
    `the image needs about ${formatBytes(bytes)} in ${store.directory}, ${formatBytes(free)} are free; free some and try again`,
  );
}
