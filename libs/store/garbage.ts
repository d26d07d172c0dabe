import { rename, rm } from 'node:fs/promises';
import { storing, systemCode } from './error.ts';
import type { ImageCatalog } from './image-catalog.ts';
import type { RootfsStore } from './rootfs-store.ts';

/**
 * Removes root filesystems that no image points to and that nobody used for `graceMs`; returns their keys.
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
  graceMs: number,
): Promise<string[]> {
  const removed: string[] = [];
  const referenced = await images.referencedKeys();
  for (const key of await rootfs.content.digests()) {
    if (referenced.has(key)) continue;
    const lastUsed = await rootfs.content.lastUsed(key);
    if (lastUsed === undefined || Date.now() - lastUsed.getTime() < graceMs) continue;
    if (await removeOne(rootfs, images, key)) removed.push(key);
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
  return storing('remove a root filesystem', async () => {
    if (named && (await putBack(aside, rootfs.content.path(key)))) return false;
    await rm(aside, { recursive: true, force: true });
    return !named;
  });
}

/** False when it was built anew meanwhile: then ours is not needed. */
async function putBack(aside: string, path: string): Promise<boolean> {
  try {
    await rename(aside, path);
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}
