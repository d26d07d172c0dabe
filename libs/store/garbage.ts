import type { ImageCatalog } from './image-catalog.ts';
import type { RootfsStore } from './rootfs-store.ts';

/**
 * Removes root filesystems that no image points to and that nobody used for `graceMs`; returns their keys. With `dryRun`
 * it removes nothing.
 *
 * A pull may be about to give one of them a name. Three things keep the two apart. The grace: a pull touches what it
 * finds or publishes, and names it within milliseconds. The order: here the entry is taken away first and the catalog
 * read again after that; `ImageCatalog.put` writes the catalog first and looks for the root filesystem after that. So
 * whichever way the steps fall, at least one side sees the other: the entry is put back here, or `put` fails there,
 * retryable. Two collections at once: only one gets hold of an entry.
 */
export async function removeUnreferencedRootfs(
  rootfs: RootfsStore,
  images: Pick<ImageCatalog, 'referencedKeys'>,
  { graceMs, dryRun = false }: { readonly graceMs: number; readonly dryRun?: boolean | undefined },
): Promise<string[]> {
  const removed: string[] = [];
  const referenced = await images.referencedKeys();
  for (const key of await rootfs.content.digests()) {
    if (referenced.has(key)) continue;
    const lastUsed = await rootfs.content.lastUsed(key);
    if (lastUsed === undefined || Date.now() - lastUsed.getTime() < graceMs) continue;
    if (dryRun || (await removeOne(rootfs, images, key))) removed.push(key);
  }
  return removed;
}

async function removeOne(
  rootfs: RootfsStore,
  images: Pick<ImageCatalog, 'referencedKeys'>,
  key: string,
): Promise<boolean> {
  const aside = await rootfs.content.setAside(key);
  if (aside === undefined) return false;
  const named = (await images.referencedKeys()).has(key);
  if (named) await rootfs.content.putBack(aside, key);
  else await rootfs.content.removeAside(aside);
  return !named;
}
