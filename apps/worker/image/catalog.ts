import { isDeepStrictEqual } from 'node:util';
import type { Resolution } from '@bhatti/oci';
import { type ImageEntry, type Store, StoreError } from '@bhatti/store';
import { type BuiltImage, readBuiltImage } from './built-image.ts';

export interface NamedImage {
  readonly owner: string;
  readonly name: string;
  /** Canonical. */
  readonly reference: string;
  readonly resolution: Resolution;
  /** `rootfsKey` of a published root filesystem. */
  readonly key: string;
}

export interface Naming {
  readonly built: BuiltImage;
  /** The reference that the name stood for, if of another repository: two may end in the same word. */
  readonly displaced?: string;
}

/**
 * Makes the name stand for the root filesystem: the last step of a pull. An entry that says so already is left alone.
 * @param requireOwned called just before the name is set: a worker that hung meanwhile must not take it from a later pull
 */
export async function nameImage(
  store: Store,
  { owner, name, reference, resolution, key }: NamedImage,
  requireOwned: () => Promise<void>,
): Promise<Naming> {
  const built = await readBuiltImage(store, key);
  const { manifestDigest, targetDigest, wantedPlatform } = resolution;
  const resolved = { manifestDigest, targetDigest, wantedPlatform };
  for (;;) {
    const present = await store.images.get(owner, name);
    const isSame = present?.rootfsKey === key && present.reference === reference;
    if (isSame && isDeepStrictEqual(present.resolution, resolved)) return { built };
    const entry: ImageEntry = {
      name,
      rootfsKey: key,
      reference,
      resolution: resolved,
      manifestDigest: built.manifestDigest,
      platform: built.platform,
      sizeBytes: built.sizeBytes,
      allocatedBytes: built.allocatedBytes,
      createdAt: isSame ? present.createdAt : new Date().toISOString(),
      config: built.config,
      warnings: built.warnings,
      ...(present?.shared === undefined ? {} : { shared: present.shared }),
    };
    // Fails if the entry changed meanwhile, as when it was shared: then once more.
    const isReplaced = await store.images.replace(owner, present, entry, requireOwned).catch((error: unknown) => {
      // On a full disk, say: what is lost is only the note of what the reference resolved to.
      if (isSame && error instanceof StoreError && error.code !== 'not_found') return true;
      throw error;
    });
    if (isReplaced) {
      const isOther = present !== null && isOtherRepository(present.reference, reference);
      return isOther ? { built, displaced: present.reference } : { built };
    }
  }
}

/** Whether both name a repository, which an import need not, and not the same. */
function isOtherRepository(one: string, other: string): boolean {
  return [one, other].every((each) => each.includes('/')) && repositoryOf(one) !== repositoryOf(other);
}

/** The reference without tag and digest; the colon of a port stays. */
function repositoryOf(reference: string): string {
  return reference.replace(/@.*$/, '').replace(/:[^/]*$/, '');
}
