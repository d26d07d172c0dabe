import * as z from 'zod';

/**
 * The image's config as the registry had it, read by `@bhatti/oci`: the store keeps it as it is and asks nothing of it but
 * to be an object.
 */
export const ImageConfigRecord = z.record(z.string(), z.unknown());

/** An image in the catalog: a name, what it stands for, and where that came from. */
export const ImageEntry = z.object({
  name: z.string(),
  /** `rootfsKey` of its root filesystem. */
  rootfsKey: z.string().regex(/^[0-9a-f]{64}$/),
  /** Canonical: `docker.io/library/python:3.12`. */
  reference: z.string(),
  /** `sha256:<hex>` of the manifest of the platform. */
  manifestDigest: z.string(),
  platform: z.string(),
  /** Size of the ext4 file system in bytes. */
  sizeBytes: z.int().min(0),
  /** Bytes it takes on disk. */
  allocatedBytes: z.int().min(0),
  createdAt: z.iso.datetime(),
  config: ImageConfigRecord,
  warnings: z.array(z.string()),
  /** Everybody sees it and may use it. Kept when the name comes to stand for another root filesystem. */
  shared: z.boolean().optional(),
});
export type ImageEntry = z.output<typeof ImageEntry>;
