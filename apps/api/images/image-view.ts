import type { Store } from '@bhatti/store';
import type { ImageView } from '../api-schema.ts';
import type { OwnedImage } from './visible-image.ts';

/** An image as the API shows it. */
export function imageView(store: Store, { owner, entry }: OwnedImage): ImageView {
  return {
    name: entry.name,
    owner,
    shared: entry.shared ?? false,
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
