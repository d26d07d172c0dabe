import type { ImageEntry, Store } from '@bhatti/store';
import type { ImageView } from './api-schema.ts';

/** An image as the API shows it. */
export function imageView(store: Store, entry: ImageEntry): ImageView {
  return {
    name: entry.name,
    ref: entry.reference,
    digest: entry.manifestDigest,
    platform: entry.platform,
    size_bytes: entry.sizeBytes,
    disk_bytes: entry.allocatedBytes,
    created_at: entry.createdAt,
    path: store.rootfs.path(entry.rootfsKey),
    warnings: entry.warnings,
    config: entry.config,
  };
}
