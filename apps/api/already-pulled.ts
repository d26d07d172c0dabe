import { stat } from 'node:fs/promises';
import { parsePlatform, type RegistryClient } from '@bhatti/oci';
import type { ImageEntry, Store } from '@bhatti/store';
import type { Logger } from 'pino';
import type { PullRequest } from './pull-request.ts';

/** The client is waiting for its answer meanwhile; waiting for a slow registry is the worker's job. */
const registryTimeoutMilliseconds = 5_000;

export interface AlreadyPulledServices {
  readonly store: Pick<Store, 'images' | 'rootfs'>;
  readonly registry: Pick<RegistryClient, 'resolveDigest'>;
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
  if (!entry || !satisfies(entry, pull)) return null;
  // Only a worker knows which overlay is current.
  if (services.overlay) return null;
  try {
    // A task rebuilds what is missing (these reads throw then), is truncated, or has an overlay that is no longer set.
    const { overlay, sizeBytes } = await services.store.rootfs.read(entry.rootfsKey);
    if (overlay !== undefined || (await stat(services.store.rootfs.path(entry.rootfsKey))).size !== sizeBytes)
      return null;
    const digest = await services.registry.resolveDigest(pull.reference, {
      platform: pull.platform === undefined ? undefined : parsePlatform(pull.platform),
      credentials: pull.credentials,
      signal: AbortSignal.any([signal, AbortSignal.timeout(registryTimeoutMilliseconds)]),
    });
    return digest === entry.manifestDigest ? entry : null;
  } catch (error) {
    services.log.info(
      { err: error, image: entry.name },
      'cannot tell whether the image is the one asked for; a task will',
    );
    return null;
  }
}

/** The digest does not cover the size, and a reference to a single image resolves whatever platform is asked for. */
function satisfies(entry: ImageEntry, pull: PullRequest): boolean {
  return (
    (pull.sizeBytes === undefined || pull.sizeBytes === entry.sizeBytes) &&
    (pull.platform === undefined || pull.platform === entry.platform)
  );
}
