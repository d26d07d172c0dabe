import { open, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { isImageArchive } from '@bhatti/oci';
import { decodeLayer, describeLayerFile, type LayerFile, type LayerLimits, readLayerIndex } from '@bhatti/rootfs';
import type { Store } from '@bhatti/store';
import { describeFailure, messageOf, WorkerError } from '../job/failure.ts';
import { hasLayer, removeOutdatedLayer } from './cached-layer.ts';
import { discard } from './discard.ts';

/** The operator's layer that goes on top of every image: a guest agent, an init. */
export interface Overlay {
  /** `sha256:<hex>` of its tar, not compressed. */
  readonly diffId: string;
  /** Ensures that it is in the layer cache, from which it may have been evicted. */
  provide(signal?: AbortSignal): Promise<void>;
}

/**
 * Reads the whole overlay that BHATTI_OVERLAY names, so that a bad one fails the start of the worker, not the first pull.
 *
 * @param limits the operator's, as for any other layer
 * @throws WorkerError `invalid_overlay`, which names the file and says what is wrong with it
 */
export async function openOverlay(path: string, store: Store, limits: Partial<LayerLimits> = {}): Promise<Overlay> {
  try {
    if (!isAbsolute(path)) throw new Error('it has to be an absolute path');
    const found = await stat(path);
    if (!found.isFile()) throw new Error('it is not a file; it has to be a tar, plain or compressed with gzip or zstd');
    if (found.size === 0) throw new Error('it is empty, and no tar');
    const layer = await describeLayerFile(path, { limits });
    const overlay = {
      diffId: layer.diffId,
      provide: (signal?: AbortSignal) => provide({ path, layer, limits }, store, signal),
    };
    await overlay.provide();
    if (isImageArchive(readLayerIndex(store.layers.directory(layer.diffId)).entries))
      throw new Error('it is an image, not a layer; it has to be a tar of the files to add');
    return overlay;
  } catch (error) {
    throw new WorkerError('invalid_overlay', `BHATTI_OVERLAY: ${path} cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

interface OverlayFile {
  readonly path: string;
  readonly layer: LayerFile;
  readonly limits: Partial<LayerLimits>;
}

/** @throws WorkerError `invalid_overlay` when it has to be read again, and the file is gone or has changed */
async function provide(
  { path, layer, limits }: OverlayFile,
  store: Store,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (await hasLayer(store, layer.diffId)) return await store.layers.touch(layer.diffId);
  await removeOutdatedLayer(store, layer.diffId);
  const cached = await store.layers.begin(layer.diffId);
  try {
    await decodeLayer({ ...layer, source: path, outDirectory: cached.directory, limits, signal });
    await cached.publish();
  } catch (error) {
    await discard(cached);
    throw signal?.aborted ? error : await explain(error, path, layer);
  }
}

/** The error to report: that the overlay is gone or has changed since the worker started, where it has; else the failure itself. */
async function explain(error: unknown, path: string, layer: LayerFile): Promise<unknown> {
  try {
    const isSame = describeFailure(error).code !== 'digest_mismatch' && (await isAsLong(path, layer));
    if (isSame) return error;
    const message = `the overlay ${path} is not what it was when the worker started; start the worker again`;
    return new WorkerError('invalid_overlay', message, { cause: error });
  } catch (unreadable) {
    // A fault of the disk or the host.
    if (describeFailure(unreadable).retryable) return error;
    return new WorkerError(
      'invalid_overlay',
      `the overlay ${path} cannot be read any more: ${messageOf(unreadable)}; put it back, or start the worker again without it`,
      { cause: error },
    );
  }
}

/** Whether it is still a file of the same size. Rejects when it cannot be opened. */
async function isAsLong(path: string, { size }: LayerFile): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const status = await file.stat();
    return status.isFile() && status.size === size;
  } finally {
    await file.close();
  }
}
