import { FREE_SPACE_RESERVE, requireE2fsprogs } from '@bhatti/rootfs';
import { counted, formatBytes, type ProgressReporter, type PullResult, type TaskJobData } from '@bhatti/tasks';
import type { PullServices } from '../services.ts';
import { hasLayer } from './cached-layer.ts';
import { nameImage } from './catalog.ts';
import { estimateSpace, requireSpace } from './disk-space.ts';
import type { ImageLayer } from './fetch-layer.ts';
import type { ImageSource, SourceImage } from './image-source.ts';
import { distinctLayers, provideLayers } from './layers.ts';
import { runPhase } from './phase.ts';
import { type CountedLayer, PullProgress } from './progress.ts';
import { keyOf, resolveTarget } from './resolve.ts';
import { provideRootfs } from './rootfs.ts';

export interface ImageTask {
  readonly id: string;
  readonly data: TaskJobData;
  readonly source: ImageSource;
  readonly reporter: ProgressReporter;
  /** Aborts when the task is cancelled, the worker stops, or the task is another worker's now. */
  readonly signal: AbortSignal;
  /** Writes a line to the log of the job, for operators. */
  readonly note: (line: string) => Promise<void>;
  /** Rejects unless the task is still this worker's. */
  readonly requireOwned: () => Promise<void>;
}

/**
 * Makes a root filesystem of an image and names it in the catalog: pulls and imports alike. Every step finds by digest what
 * is there already and does the rest, so that it can be interrupted anywhere and repeated by any worker.
 */
export async function makeImage(services: PullServices, task: ImageTask): Promise<PullResult> {
  const { store, metrics } = services;
  const { data, source, reporter, signal } = task;
  const progress = new PullProgress(reporter);
  progress.opening(source.opening);
  const target = await runPhase(services, source.opening.phase, () => resolveTarget(services, source, task));
  const made: Made =
    target.image === undefined
      ? { key: target.key, reused: 'rootfs' }
      : await make(services, task, progress, target.key, target.image);
  const { key, reused } = made;
  signal.throwIfAborted();
  await task.requireOwned();
  metrics.count('rootfs', { source: reused === 'rootfs' ? 'cache' : 'built' });
  const { resolution } = target;
  const named = { owner: data.owner, name: data.name, reference: source.reference, resolution, key };
  const { built, displaced } = await nameImage(store, named, task.requireOwned);
  return {
    image: data.name,
    digest: built.manifestDigest,
    sizeBytes: built.sizeBytes,
    steps: [...reporter.steps],
    warnings: displaced === undefined ? built.warnings : [...built.warnings, displacedWarning(data.name, displaced)],
    ...(reused === undefined ? {} : { reused }),
  };
}

function displacedWarning(name: string, reference: string): string {
  return `the name ${name} stood for ${reference} before; to keep both, pull that one again under another name`;
}

/** A published root filesystem, and how much of the work was done before. */
interface Made {
  readonly key: string;
  readonly reused?: PullResult['reused'];
}

/** Fetches the missing layers and builds the root filesystem. */
async function make(
  services: PullServices,
  task: ImageTask,
  progress: PullProgress,
  claimed: string,
  image: SourceImage,
): Promise<Made> {
  const { metrics, overlay } = services;
  const { source, signal, requireOwned } = task;
  const layers = distinctLayers(image);
  // Before checking which layers are cached: what is claimed is not evicted.
  const needed = overlay === undefined ? layers : [...layers, overlay];
  await services.claims.layer.claim(
    task.id,
    needed.map(({ diffId }) => diffId),
  );
  const missing = await missingLayers(services, layers);
  await requireE2fsprogs();
  await requireRoom(services, layers, missing, signal);
  await task.note(
    `${image.manifestDigest}: ${counted(layers.length, 'layer')}, ${formatBytes(totalSize(layers))}; ${missing.size} to fetch, ${formatBytes(totalSize(missing))}`,
  );
  await services.claims.partial.claim(
    task.id,
    [...missing].map((layer) => layer.descriptor.digest),
  );
  await services.fetchedLayers.add(
    task.id,
    [...missing].map((layer) => layer.diffId),
  );
  progress.downloading(await countLayers(services, layers, missing));
  const onBytes = (digest: string, bytes: number) => progress.layerBytes(digest, bytes);
  await runPhase(services, 'downloading', () =>
    provideLayers(services, { image, source, signal, requireOwned, onBytes }),
  );
  metrics.count('layers', { source: source.kind }, missing.size);
  metrics.count('layers', { source: 'cache' }, layers.length - missing.size);
  progress.flattening();
  const { sizeBytes, force } = task.data;
  // Once more: the download may have taken an hour, and e2fsprogs been upgraded meanwhile.
  const key = await keyOf(services, task.data, image.manifestDigest);
  if (key !== claimed) {
    await requireOwned();
    await services.claims.rootfs.claim(task.id, [key]);
  }
  await runPhase(services, 'flattening', () =>
    provideRootfs(services, { key, image, sizeBytes, force, signal, requireOwned }),
  );
  return missing.size === 0 ? { key, reused: 'layers' } : { key };
}

async function missingLayers(services: PullServices, layers: readonly ImageLayer[]): Promise<Set<ImageLayer>> {
  const missing = new Set<ImageLayer>();
  for (const layer of layers) if (!(await hasLayer(services.store, layer.diffId))) missing.add(layer);
  return missing;
}

/** How much of each layer is there: all of a cached one; of a missing one, what an earlier attempt has fetched. */
async function countLayers(
  { store }: PullServices,
  layers: readonly ImageLayer[],
  missing: ReadonlySet<ImageLayer>,
): Promise<CountedLayer[]> {
  const counted: CountedLayer[] = [];
  for (const layer of layers) {
    const { digest, size } = layer.descriptor;
    counted.push({ digest, size, present: missing.has(layer) ? await store.partials.size(digest) : size });
  }
  return counted;
}

async function requireRoom(
  { store, layerCache }: PullServices,
  layers: readonly ImageLayer[],
  missing: ReadonlySet<ImageLayer>,
  signal: AbortSignal,
): Promise<void> {
  const space = layers.map((layer) => ({
    size: layer.descriptor.size,
    compression: layer.compression,
    missing: missing.has(layer),
  }));
  const bytes = estimateSpace(space) + FREE_SPACE_RESERVE;
  // Cached layers give way first.
  await layerCache.makeRoom(bytes, signal);
  await requireSpace(store, bytes);
}

function totalSize(layers: Iterable<ImageLayer>): number {
  let total = 0;
  for (const { descriptor } of layers) total += descriptor.size;
  return total;
}
