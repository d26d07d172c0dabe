import type { ImageEntry, Store } from '@bhatti/store';

/** An image as the API shows it. Sizes are bytes. */
export interface ImageView {
  readonly name: string;
  /** Canonical reference that it was pulled from. */
  readonly ref: string;
  /** Digest of the image's manifest. */
  readonly digest: string;
  readonly platform: string;
  /** Size of the file system: what the sandbox sees as its disk. */
  readonly size_bytes: number;
  /** What the sparse file takes on the server's disk. */
  readonly disk_bytes: number;
  /** ISO 8601. */
  readonly created_at: string;
  /** The ext4 file, on the server. */
  readonly path: string;
  readonly warnings: readonly string[];
  /** How the image wants to be run: env, cmd, entrypoint, user, ... */
  readonly config: ImageEntry['config'];
}

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
