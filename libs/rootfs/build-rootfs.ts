import { z } from 'zod';
import { checkFileSystem, requireE2fsprogs } from './e2fsprogs.ts';
import { RootfsError, toRootfsError } from './error.ts';
import { copyData, copyRun } from './ext4/data-copy.ts';
import { BLOCK_SIZE } from './ext4/format.ts';
import { requireFreeSpace } from './free-space.ts';
import { DEFAULT_IMAGE_LIMITS, type ImageLimits } from './layer/limits.ts';
import { runOnThread } from './threads.ts';

export interface BuildOptions {
  /** Directories of the layer cache, bottom layer first. */
  readonly layers: readonly string[];
  /** Path of the ext4 file to write; nothing may be there. */
  readonly output: string;
  /** Exact size of the file system in bytes; left out, content and headroom decide. */
  readonly sizeBytes?: number | undefined;
  /** Left out, `DEFAULT_IMAGE_LIMITS`; so is each of them. */
  readonly limits?: Partial<ImageLimits> | undefined;
  readonly signal?: AbortSignal | undefined;
}

const rootfsReport = z.object({
  sizeBytes: z.number(),
  entries: z.number(),
  contentBytes: z.number(),
  warnings: z.array(z.string()),
});

/**
 * `sizeBytes`: bytes of the file system; `entries`: inodes that hold the image's entries; `contentBytes`: bytes of
 * file content, holes not counted; `warnings`: what a user should know before booting it.
 */
export type RootfsReport = z.infer<typeof rootfsReport>;

const builtImage = z.object({ report: rootfsReport, copies: z.array(copyRun) });

/**
 * Merges layers of the cache into one tree, writes it to a new ext4 file (on a worker thread, data by libuv's), and has
 * e2fsck check it. The same layers and options give the same bytes. What is left at `output` after an error is for the caller to
 * remove.
 *
 * @throws RootfsError `layer_corrupt`, `image_too_large`, `no_space`, `mke2fs_missing`, `e2fsck_missing`,
 * `mke2fs_failed`, `e2fsck_failed`, `cancelled`
 */
export async function buildRootfs(options: BuildOptions): Promise<RootfsReport> {
  const { signal, limits, ...described } = options;
  const input = { ...described, limits: { ...DEFAULT_IMAGE_LIMITS, ...limits } };
  await requireE2fsprogs();
  const { report, copies } = await runOnThread({ work: 'build', input, result: builtImage, signal });
  requireFreeSpace(
    options.output,
    copies.reduce((bytes, { blocks }) => bytes + blocks * BLOCK_SIZE, 0),
  );
  await together(signal, [
    // e2fsck reads metadata only, which is whole: it need not wait for the data (0.4 s of 2.4 s for a 1 GB image).
    (either) => checkFileSystem(options.output, either),
    (either) => copyData(copies, options.layers, options.output, either),
  ]);
  return report;
}

/** Runs jobs side by side; the first that fails stops the others, and is told once all have ended. */
async function together(
  signal: AbortSignal | undefined,
  jobs: readonly ((signal: AbortSignal) => Promise<void>)[],
): Promise<void> {
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  let failure: unknown;
  await Promise.all(
    jobs.map(async (job) => {
      try {
        await job(either);
      } catch (error) {
        failure ??= error;
        stop.abort(error);
      }
    }),
  );
  if (signal?.aborted) throw new RootfsError('cancelled', 'the work was cancelled', { cause: signal.reason });
  if (failure !== undefined) throw toRootfsError(failure);
}
