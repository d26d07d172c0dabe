import type { ImageCatalog } from './image-catalog.ts';
import type { RootfsStore } from './rootfs-store.ts';

export interface RemoveUnreferencedOptions {
  /** Whether a task is about to give the root filesystem of this key a name. Called before it is set aside, and again after. */
  readonly isNeeded: (key: string) => Promise<boolean>;
  /** Remove nothing, but return what would be removed. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Removes root filesystems that no image points to and no task needs; returns their keys.
 *
 * A pull may be about to give one of them a name. It claims the key, looks for the root filesystem, names it, and releases the
 * claim, in this order. Here the entry is set aside first, then the claims are read, then the catalog. So a pull that claims after
 * that finds it missing and builds it; an earlier claim is seen; and if it has been released, the name is in the catalog. If Redis
 * has lost the claims, `ImageCatalog.put`, which looks for the root filesystem again after writing the name, fails with a
 * retryable error. No step depends on clocks. Of concurrent collections, only one gets hold of an entry.
 */
export async function removeUnreferencedRootfs(
  rootfs: RootfsStore,
  images: Pick<ImageCatalog, 'referencedKeys'>,
  { isNeeded, dryRun = false }: RemoveUnreferencedOptions,
): Promise<string[]> {
  const removed: string[] = [];
  const isKept = async (key: string) => (await isNeeded(key)) || (await images.referencedKeys()).has(key);
  const referenced = await images.referencedKeys();
  for (const key of await rootfs.content.digests()) {
    // Checked individually before it is set aside: one named since the catalog was read must not be missing even for a moment.
    if (referenced.has(key) || (await isKept(key))) continue;
    if (dryRun || (await rootfs.content.removeUnless(key, () => isKept(key)))) removed.push(key);
  }
  return removed;
}
