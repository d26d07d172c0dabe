import { type Credentials, parsePlatform, parseReference, type Reference, type ResolvedImage } from '@bhatti/oci';
import { e2fsprogsVersion, rootfsKey } from '@bhatti/rootfs';
import type { PullJobData } from '@bhatti/tasks';
import type { PullServices } from './services.ts';

export interface ResolveTask {
  readonly data: PullJobData;
  readonly credentials?: Credentials | undefined;
  readonly signal: AbortSignal;
}

/** What a pull is to make: the root filesystem of this key, and the image to make it from where it is not there yet. */
export interface Target {
  readonly key: string;
  /** Undefined: it is built. */
  readonly image?: ResolvedImage;
}

/**
 * Asks the registry what the reference points to now. Where the name is in the catalog, the digest alone is asked for
 * first: most often it is the same, and then not even the config has to be fetched. A forced pull makes it anew in any case.
 */
export async function resolveTarget(
  { store, registry, overlay }: Pick<PullServices, 'store' | 'registry' | 'overlay'>,
  task: ResolveTask,
): Promise<Target> {
  const { data, credentials, signal } = task;
  const reference: Reference = parseReference(data.reference);
  const options = {
    signal,
    ...(credentials === undefined ? {} : { credentials }),
    ...(data.platform === undefined ? {} : { platform: parsePlatform(data.platform) }),
  };
  // Asked anew each time, which takes milliseconds: it may be upgraded while the worker runs.
  const parts = { sizeBytes: data.sizeBytes, overlayDiffId: overlay?.diffId, e2fsprogs: await e2fsprogsVersion() };
  const keyOf = (manifestDigest: string) => rootfsKey({ ...parts, manifestDigest });
  if (!data.force && (await store.images.get(data.owner, data.name)) !== null) {
    const key = keyOf(await registry.resolveDigest(reference, options));
    if (await store.rootfs.has(key)) return { key };
  }
  const image = await registry.resolve(reference, options);
  const key = keyOf(image.manifestDigest);
  return !data.force && (await store.rootfs.has(key)) ? { key } : { key, image };
}
