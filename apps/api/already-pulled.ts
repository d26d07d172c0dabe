import { stat } from 'node:fs/promises';
import { parsePlatform, type RegistryClient } from '@bhatti/oci';
import type { ImageEntry, Store } from '@bhatti/store';
import type { Logger } from 'pino';
import type { PullRequest } from './pull-request.ts';

/** The client of the API waits while the registry is asked; a slow registry is the worker's to wait for. */
const registryTimeoutMilliseconds = 5_000;

export interface AlreadyPulledServices {
  readonly store: Pick<Store, 'images' | 'rootfs'>;
  readonly registry: Pick<RegistryClient, 'resolveDigest'>;
  readonly overlay: boolean;
  readonly log: Logger;
}

/**
 * The image under the wanted name, when it is the very digest that the reference stands for now. Only asks the registry
 * when there is an image of that name. null when it is another digest, or nobody can tell: then a task finds out.
 */
export async function alreadyPulled(
  services: AlreadyPulledServices,
  owner: string,
  pull: PullRequest,
  signal: AbortSignal,
): Promise<ImageEntry | null> {
  const entry = await services.store.images.get(owner, pull.name);
  if (!entry || !satisfies(entry, pull)) return null;
  // Whether its overlay is today's, or should have gone, a worker finds out.
  if (services.overlay) return null;
  try {
    // A file or a record that is gone is a task's to make anew, as is a file cut short: the looks at the former throw then.
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

/** A digest says nothing of the size, and a reference to a single image is resolved whatever platform is asked for. */
function satisfies(entry: ImageEntry, pull: PullRequest): boolean {
  return (
    (pull.sizeBytes === undefined || pull.sizeBytes === entry.sizeBytes) &&
    (pull.platform === undefined || pull.platform === entry.platform)
  );
}
