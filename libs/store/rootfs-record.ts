import { z } from 'zod';

/** What is known of a root filesystem whatever its image is called: `image.json` beside its `rootfs.ext4`. */
export const RootfsRecord = z.looseObject({
  /** Size of the ext4 file system in bytes. */
  sizeBytes: z.int().min(0),
  /** Bytes it takes on disk: the file is sparse. */
  allocatedBytes: z.int().min(0),
  /** SHA-256 of the file in hex, where the build has taken it. */
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  createdAt: z.iso.datetime(),
  warnings: z.array(z.string()),
});
export type RootfsRecord = z.output<typeof RootfsRecord>;
