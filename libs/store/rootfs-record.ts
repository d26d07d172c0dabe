import * as z from 'zod';

/** What is known about a root filesystem, independent of image names: `image.json` beside its `rootfs.ext4`. */
export const RootfsRecord = z.looseObject({
  /** Size of the ext4 file system in bytes. */
  sizeBytes: z.int().min(0),
  /** Bytes it takes on disk: the file is sparse. */
  allocatedBytes: z.int().min(0),
  /** SHA-256 of the file in hex, added soon after the file is published. */
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  /** `sha256:<hex>` (diff_id) of the operator's layer on top, if it has one. */
  overlay: z.string().optional(),
  createdAt: z.iso.datetime(),
  warnings: z.array(z.string()),
});
export type RootfsRecord = z.output<typeof RootfsRecord>;
