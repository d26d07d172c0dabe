import type { ImageCatalog } from './image-catalog.ts';
import type { RootfsStore } from './rootfs-store.ts';

export interface RemoveUnreferencedOptions {
  /** Whether a task is about to give the root filesystem of this key a name. Asked before it is taken away, and again after. */
  readonly isNeeded: (key: string) => Promise<boolean>;
  /** Remove nothing: tell what would go. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Removes root filesystems that no image points to and no task needs; returns their keys.
 *
 * A pull may be about to give one of them a name. It claims the key, looks for the root filesystem, names it, and gives the
 * claim up, in this order. Here the entry is taken away first, then the claims are read, then the catalog: who claims after
 * that finds it missing and builds it; who had claimed is seen; who had given the claim up is in the catalog. Should Redis
 * have lost the claims, `ImageCatalog.put` looks for the root filesystem after it has written the name, and fails,
 * retryable. No clock decides anything. Two collections at once: only one gets hold of an entry.
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
    // Once more by itself: one that got its name since the catalog was read must not be missing even for the moment of a look.
    if (referenced.has(key) || (await isKept(key))) continue;
    if (dryRun || (await removeUnless(rootfs, key, isKept))) removed.push(key);
  }
  return removed;
}

async function removeUnless(
  { content }: RootfsStore,
  key: string,
  isKept: (key: string) => Promise<boolean>,
): Promise<boolean> {
  const aside = await content.setAside(key);
  if (aside === undefined) return false;
  let kept = true;
  try {
    kept = await isKept(key);
  } finally {
    // Also when nobody can tell.
    if (kept) await content.putBack(aside, key);
  }
  if (!kept) await content.removeAside(aside);
  return !kept;
}
