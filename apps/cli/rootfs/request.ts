import * as z from 'zod';

/** What `bhatti rootfs build` asks of its program, as JSON in its only argument. Paths are absolute. */
export const BuildRequest = z.object({
  /** Tars, bottom first; or one image: an OCI layout folder or an archive. */
  sources: z.array(z.string()).min(1),
  output: z.string(),
  /** One more tar, on top. */
  overlay: z.string().optional(),
  sizeBytes: z.number().optional(),
  /** Of an image in a layout that holds several. */
  image: z.string().optional(),
  platform: z.string().optional(),
  json: z.boolean(),
});
export type BuildRequest = z.output<typeof BuildRequest>;
