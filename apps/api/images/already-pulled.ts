import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { parsePlatform, type RegistryClient, type Resolution } from '@bhatti/oci';
import type { ImageEntry, Store } from '@bhatti/store';
import type { Logger } from 'pino';
import type { PullRequest } from './pull-request.ts';

/** The client is waiting for its answer meanwhile; waiting for a slow registry is the worker's job. */
const registryTimeoutMilliseconds = 5_000;

export interface AlreadyPulledServices {
  readonly store: Pick<Store, 'images' | 'rootfs'>;
  readonly registry: Pick<RegistryClient, 'isUnchanged' | 'resolveDigests'>;
  readonly overlay: boolean;
  readonly log: Logger;
}

/**
 * The image under the requested name, if its digest is the one that the reference resolves to now. The registry is asked
 * only if there is an image of that name. null when the digest differs or cannot be determined: then a task finds out.
 */
export async function alreadyPulled(
  services: AlreadyPulledServices,
  owner: string,
  pull: PullRequest,
  signal: AbortSignal,
): Promise<ImageEntry | null> {
  const entry = await services.store.images.get(owner, pull.name);
  if (!entry) return null;
  // The digest does not cover the size.
  if (pull.sizeBytes !== undefined && pull.sizeBytes !== entry.sizeBytes) return null;
  // Only a worker knows which overlay is current.
  if (services.overlay) return null;
  try {
    // A task rebuilds what is missing (these reads throw then), is truncated, or has an overlay that is no longer set.
    const { overlay, sizeBytes } = await services.store.rootfs.read(entry.rootfsKey);
    if (overlay !== undefined || (await stat(services.store.rootfs.path(entry.rootfsKey))).size !== sizeBytes)
      return null;
    const options = {
      platform: pull.platform === undefined ? undefined : parsePlatform(pull.platform),
      credentials: pull.credentials,
      signal: AbortSignal.any([signal, AbortSignal.timeout(registryTimeoutMilliseconds)]),
    };
    const known = entry.resolution;
    if (known !== undefined && (await services.registry.isUnchanged(pull.reference, known, options))) return entry;
    const resolution = await services.registry.resolveDigests(pull.reference, options);
    if (resolution.manifestDigest !== entry.manifestDigest) return null;
    await keepResolution(services, owner, entry, resolution);
    return entry;
  } catch (error) {
    services.log.info(
      { err: error, image: entry.name },
      'cannot tell whether the image is the one asked for; a task will',
    );
    return null;
  }
}

/** So that the next check is cheap, too: the index may have changed for other platforms. An entry that changed meanwhile is left alone. */
async function keepResolution(
  { store, log }: AlreadyPulledServices,
  owner: string,
  entry: ImageEntry,
  resolution: Resolution,
): Promise<void> {
  if (isDeepStrictEqual(resolution, entry.resolution)) return;
  try {
    await store.images.replace(owner, entry, { ...entry, resolution });
  } catch (error) {
    log.info({ err: error, image: entry.name }, 'cannot note what the reference of the image points to');
  }
}
