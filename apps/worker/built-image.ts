import { ImageConfigRecord, RootfsRecord, type Store } from '@bhatti/store';
import * as z from 'zod';

/**
 * What is kept beside a root filesystem: all that a catalog entry needs but name and reference, so that the same image
 * under another name takes nothing from the registry but the manifest.
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
