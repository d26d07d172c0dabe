import * as z from 'zod';

/**
 * The image's config as `@bhatti/oci` has parsed it. The store only requires it to be an object.
 */
export const ImageConfigRecord = z.record(z.string(), z.unknown());

/** An image in the catalog: a name, what it refers to, and where that came from. */
export const ImageEntry = z.object({
  name: z.string(),
  /** `rootfsKey` of its root filesystem. */
  rootfsKey: z.string().regex(/^[0-9a-f]{64}$/),
  /** Canonical: `docker.io/library/python:3.12`. */
  reference: z.string(),
  /** `sha256:<hex>` of the platform's image manifest. */
  manifestDigest: z.string(),
  platform: z.string(),
  /** What the reference resolved to, as `@bhatti/oci` tells it: with it, a later pull can ask whether that has changed. */
  resolution: z.object({ manifestDigest: z.string(), targetDigest: z.string(), wantedPlatform: z.string() }).optional(),
  /** Size of the ext4 file system in bytes. */
  sizeBytes: z.int().min(0),
  /** Bytes that the sparse file takes on disk. */
  allocatedBytes: z.int().min(0),
  createdAt: z.iso.datetime(),
  config: ImageConfigRecord,
  warnings: z.array(z.string()),
  /** Whether all users see it and may use it. Kept when the name is made to refer to another root filesystem. */
  shared: z.boolean().optional(),
});
export type ImageEntry = z.output<typeof ImageEntry>;
