import { e2fsprogsVersion, rootfsKey } from '@bhatti/rootfs';
import type { TaskJobData } from '@bhatti/tasks';
import { isBuilt } from './built-image.ts';
import type { ImageSource, SourceImage } from './image-source.ts';
import type { PullServices } from './services.ts';

/** What a task is to make: the root filesystem of this key, and the image to make it from where it is not there yet. */
export interface Target {
  readonly key: string;
  /** Undefined: it is built. */
  readonly image?: SourceImage;
}

interface TaskParts {
  readonly id: string;
  readonly data: TaskJobData;
}

/** The key of what the task makes of an image, as it is with the e2fsprogs that are there now. It is claimed for the task. */
export async function claimKey(
  { overlay, claims }: Pick<PullServices, 'overlay' | 'claims'>,
  { id, data }: TaskParts,
  manifestDigest: string,
): Promise<string> {
  const { sizeBytes } = data;
  const e2fsprogs = await e2fsprogsVersion();
  const key = rootfsKey({ manifestDigest, sizeBytes, overlayDiffId: overlay?.diffId, e2fsprogs });
  // Before any look whether it is there: what is claimed is not collected.
  await claims.rootfs.claim(id, [key]);
  return key;
}

/**
 * Asks the source what the image is now, and claims its root filesystem for the task. Where the name is in the catalog, the digest
 * alone is asked for first: most often it is the same, and then not even the config has to be fetched. A forced task makes it anew in any
 * case.
 */
export async function resolveTarget(
  services: Pick<PullServices, 'store' | 'overlay' | 'claims'>,
  source: ImageSource,
  task: TaskParts,
): Promise<Target> {
  const { store } = services;
  const { data } = task;
  if (source.digest !== undefined && !data.force && (await store.images.get(data.owner, data.name)) !== null) {
    const key = await claimKey(services, task, await source.digest());
    if (await isBuilt(store, key)) return { key };
  }
  const image = await source.resolve();
  const key = await claimKey(services, task, image.manifestDigest);
  return !data.force && (await isBuilt(store, key)) ? { key } : { key, image };
}
