import type { Store } from '@bhatti/store';
import { type BuiltImage, readBuiltImage } from './built-image.ts';

export interface NamedImage {
  readonly owner: string;
  readonly name: string;
  /** Canonical. */
  readonly reference: string;
  /** `rootfsKey` of a published root filesystem. */
  readonly key: string;
}

/** Makes the name stand for the root filesystem: the last step of a pull. An entry that says so already is left alone. */
export async function nameImage(store: Store, { owner, name, reference, key }: NamedImage): Promise<BuiltImage> {
  const built = await readBuiltImage(store, key);
  const present = await store.images.get(owner, name);
  if (present?.rootfsKey === key && present.reference === reference) return built;
  await store.images.put(owner, {
    name,
    rootfsKey: key,
    reference,
    manifestDigest: built.manifestDigest,
    platform: built.platform,
    sizeBytes: built.sizeBytes,
    allocatedBytes: built.allocatedBytes,
    createdAt: new Date().toISOString(),
    config: built.config,
    warnings: built.warnings,
    ...(present?.shared === undefined ? {} : { shared: present.shared }),
  });
  return built;
}
