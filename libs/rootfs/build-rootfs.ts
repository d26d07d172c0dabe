import { z } from 'zod';
import { checkFileSystem, requireE2fsprogs } from './e2fsprogs.ts';
import { runThread } from './thread.ts';

export interface BuildOptions {
  /** Directories of the layer cache, bottom layer first. */
  readonly layers: readonly string[];
  /** Path of the ext4 file to write; nothing may be there. */
  readonly output: string;
  /** Exact size of the file system in bytes; left out, content and headroom decide. */
  readonly sizeBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const report = z.object({
  sizeBytes: z.number(),
  entries: z.number(),
  contentBytes: z.number(),
  warnings: z.array(z.string()),
});

/**
 * `sizeBytes`: bytes of the file system; `entries`: inodes that hold the image's entries; `contentBytes`: bytes of
 * file content, holes not counted; `warnings`: what a user should know before booting it.
 */
export type RootfsReport = z.infer<typeof report>;

/**
 * Merges layers of the cache into one tree, writes it to a new ext4 file (on a worker thread), and has e2fsck check
 * it. The same layers and options give the same bytes. What is left at `output` after an error is for the caller to
 * remove.
 *
 * @throws RootfsError `layer_corrupt`, `image_too_large`, `no_space`, `mke2fs_missing`, `e2fsck_missing`,
 * `mke2fs_failed`, `e2fsck_failed`, `cancelled`
 */
export async function buildRootfs(options: BuildOptions): Promise<RootfsReport> {
  const { signal, ...input } = options;
  await requireE2fsprogs();
  const built = await runThread({ name: 'build-thread', input, result: report, signal });
  await checkFileSystem(options.output, signal);
  return built;
}
