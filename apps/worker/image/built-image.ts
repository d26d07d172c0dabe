import { stat } from 'node:fs/promises';
import { ImageConfigRecord, RootfsRecord, type Store } from '@bhatti/store';
import * as z from 'zod';
import { describeFailure } from '../job/failure.ts';

/**
 * The record beside a root filesystem: all that a catalog entry needs except name and reference, so that pulling the same
 * image under another name takes only the manifest from the registry.
 */
export const BuiltImage = RootfsRecord.extend({
  /** `sha256:<hex>` of the manifest of the platform. */
  manifestDigest: z.string(),
  platform: z.string(),
  config: ImageConfigRecord,
});
export type BuiltImage = z.output<typeof BuiltImage>;

/** @throws StoreError `not_found` when it is not built */
export async function readBuiltImage(store: Store, key: string): Promise<BuiltImage> {
  return BuiltImage.parse(await store.rootfs.read(key));
}

/** Whether it is built, and file and record are intact. A damaged one counts as absent, so that it is built again. */
export async function isBuilt(store: Store, key: string): Promise<boolean> {
  try {
    const { sizeBytes } = await readBuiltImage(store, key);
    return (await stat(store.rootfs.path(key))).size === sizeBytes;
  } catch (error) {
    const { code } = describeFailure(error);
    // Anything else is a fault of the disk or the host, and no sign of damage.
    if (code === 'internal' || code === 'not_found') return false;
    throw error;
  }
}
