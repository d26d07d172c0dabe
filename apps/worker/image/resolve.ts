import type { Resolution } from '@bhatti/oci';
import { e2fsprogsVersion, rootfsKey } from '@bhatti/rootfs';
import type { TaskJobData } from '@bhatti/tasks';
import type { PullServices } from '../services.ts';
import { isBuilt } from './built-image.ts';
import type { ImageSource, SourceImage } from './image-source.ts';

/** What a task is to make: the key of a root filesystem, and the image to build it from unless it exists. */
export interface Target {
  readonly key: string;
  readonly resolution: Resolution;
  /** Undefined when it is built already. */
  readonly image?: SourceImage;
}

/** The key of the root filesystem that a task makes of an image, with the e2fsprogs now installed. */
export async function keyOf(
  { overlay }: Pick<PullServices, 'overlay'>,
  { sizeBytes }: TaskJobData,
  manifestDigest: string,
): Promise<string> {
  const e2fsprogs = await e2fsprogsVersion();
  return rootfsKey({ manifestDigest, sizeBytes, overlayDiffId: overlay?.diffId, e2fsprogs });
}

/**
 * Resolves the image at its source, and claims its root filesystem for the task. If the name is in the catalog, asks first
 * whether the image has changed: most often it has not, and then nothing has to be fetched. A forced task always builds.
 */
export async function resolveTarget(
  services: Pick<PullServices, 'store' | 'overlay' | 'claims'>,
  source: ImageSource,
  { id, data }: { readonly id: string; readonly data: TaskJobData },
): Promise<Target> {
  const { store, claims } = services;
  const claimedKey = async (manifestDigest: string) => {
    const key = await keyOf(services, data, manifestDigest);
    // Before checking whether it is built: what is claimed is not collected.
    await claims.rootfs.claim(id, [key]);
    return key;
  };
  const resolution = data.force ? undefined : (await store.images.get(data.owner, data.name))?.resolution;
  if (resolution !== undefined && (await source.isUnchanged?.(resolution))) {
    const key = await claimedKey(resolution.manifestDigest);
    if (await isBuilt(store, key)) return { key, resolution };
  }
  const image = await source.resolve();
  const key = await claimedKey(image.manifestDigest);
  const isDone = !data.force && (await isBuilt(store, key));
  return { key, resolution: image, ...(!isDone && { image }) };
}
