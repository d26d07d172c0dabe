import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { formatPlatform, hostPlatform } from '@bhatti/oci';
import { buildRootfs, RootfsError } from '@bhatti/rootfs';
import { withLease } from '@bhatti/tasks';
import { WorkerError } from '../job/failure.ts';
import { type PullServices, rootfsLease } from '../services.ts';
import { type BuiltImage, isBuilt } from './built-image.ts';
import { hasLayer } from './cached-layer.ts';
import { discard } from './discard.ts';
import type { SourceImage } from './image-source.ts';

export interface ProvideRootfsOptions {
  /** `rootfsKey` of what to build. */
  readonly key: string;
  /** All its layers are in the layer cache. */
  readonly image: SourceImage;
  /** Exact size of the file system in bytes; left out, the content decides. */
  readonly sizeBytes?: number | undefined;
  /** Build it even if it exists, and replace it. */
  readonly force?: boolean | undefined;
  readonly signal: AbortSignal;
  /** Rejects unless the task is still this worker's. */
  readonly requireOwned: () => Promise<void>;
}

/** Ensures that the root filesystem is published: builds it, unless another pull has done so or is at it. */
export async function provideRootfs(services: PullServices, options: ProvideRootfsOptions): Promise<void> {
  const { store, redis } = services;
  const { key, force, signal } = options;
  const isThere = async () => {
    await options.requireOwned();
    return (!force && (await isBuilt(store, key))) || undefined;
  };
  await withLease(redis, rootfsLease(key), { signal, recheck: isThere }, async (leased) => {
    await build(services, { ...options, signal: leased });
    return true;
  });
}

async function build(services: PullServices, options: ProvideRootfsOptions): Promise<void> {
  const { store, sync, digests, overlay, limits, metrics } = services;
  const { key, image, sizeBytes, force, signal } = options;
  const diffIds = [...image.layers.map(({ diffId }) => diffId), ...(overlay === undefined ? [] : [overlay.diffId])];
  await overlay?.provide(signal);
  const publication = await store.rootfs.begin(key);
  try {
    const layers = diffIds.map((diffId) => store.layers.directory(diffId));
    const report = await metrics.time('build', {}, () =>
      buildRootfs({ layers, output: publication.path, sizeBytes, limits: limits.image, signal }),
    );
    const { blocks } = await stat(publication.path);
    const built: BuiltImage = {
      sizeBytes: report.sizeBytes,
      allocatedBytes: blocks * 512,
      createdAt: new Date().toISOString(),
      warnings: [...report.warnings, ...platformWarnings(image)],
      manifestDigest: image.manifestDigest,
      platform: formatPlatform(image.platform),
      config: { ...image.config },
      ...(overlay === undefined ? {} : { overlay: overlay.diffId }),
    };
    await publication.writeRecord(built);
    // An intact one is kept: it has the same bytes.
    const isDamaged = (await store.rootfs.has(key)) && !(await isBuilt(store, key));
    await publication.publish({ replace: force || isDamaged });
  } catch (error) {
    await discard(publication);
    const damaged = error instanceof RootfsError ? error.damagedLayer : undefined;
    if (damaged === undefined) await requireLayers(services, diffIds, signal, error);
    else await removeDamagedLayer(services, options, damaged);
    throw error;
  }
  sync.request();
  digests.request();
}

/** Damage within a cached layer shows only when it is read. The next attempt fetches it again. */
async function removeDamagedLayer(
  { store }: PullServices,
  { requireOwned }: ProvideRootfsOptions,
  directory: string,
): Promise<void> {
  // If this process hung since it was read, an intact one may be there by now.
  await requireOwned();
  await store.layers.remove(basename(directory));
}

/**
 * Throws a retryable error if a layer was removed while it was read, by a person, or by an eviction after Redis had lost the
 * claims. The next attempt fetches it again.
 */
async function requireLayers(
  { store }: PullServices,
  diffIds: readonly string[],
  signal: AbortSignal,
  cause: unknown,
): Promise<void> {
  if (signal.aborted) return;
  for (const diffId of diffIds) {
    if (await hasLayer(store, diffId)) continue;
    const message = `the layer ${diffId} was removed from the cache while the image was made`;
    throw new WorkerError('internal', message, { retryable: true, cause });
  }
}

function platformWarnings({ platform }: SourceImage): string[] {
  const host = hostPlatform();
  if (platform.architecture === host.architecture) return [];
  return [
    `the image is for ${formatPlatform(platform)}, and this host is ${formatPlatform(host)}: its programs may not run here`,
  ];
}
