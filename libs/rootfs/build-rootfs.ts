import * as z from 'zod';
import { checkFileSystem, requireE2fsprogs } from './e2fsprogs.ts';
import { cancelled, toRootfsError } from './error.ts';
import { type CopyRun, copyRun } from './ext4/copy-run.ts';
import { copyData } from './ext4/data-copy.ts';
import { shareData } from './ext4/data-sharing.ts';
import { BLOCK_SIZE } from './ext4/format.ts';
import { requireFreeSpace } from './free-space.ts';
import { DEFAULT_IMAGE_LIMITS, type ImageLimits } from './layer/limits.ts';
import { runOnThread } from './threads.ts';

export interface BuildOptions {
  /** Directories of the layer cache, bottom layer first. */
  readonly layers: readonly string[];
  /** Path of the ext4 file to write; it must not exist. */
  readonly output: string;
  /** Exact size of the file system in bytes; by default, its content with some headroom. */
  readonly sizeBytes?: number | undefined;
  /** Merged into `DEFAULT_IMAGE_LIMITS`. */
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
 * `sizeBytes`: bytes of the file system; `entries`: paths in it, its root included; `contentBytes`: bytes of
 * file content, holes not counted; `warnings`: what a user should know before booting it.
 */
export type RootfsReport = z.infer<typeof rootfsReport>;

const copyRuns = z.array(copyRun);

/**
 * Merges layers of the cache into one tree, writes it to a new ext4 file (on a worker thread; the data on libuv's threads), and
 * checks it with e2fsck. The same layers and options give the same bytes. After an error, removing what is at `output` is up to the
 * caller.
 *
 * @throws RootfsError `layer_corrupt`, `layer_damaged`, `layer_too_large`, `image_too_large`, `no_space`, `mke2fs_missing`,
 * `e2fsck_missing`, `mke2fs_failed`, `e2fsck_failed`, `cancelled`, `internal`
 */
export async function buildRootfs(options: BuildOptions): Promise<RootfsReport> {
  const { signal, limits, ...described } = options;
  const input = { ...described, limits: { ...DEFAULT_IMAGE_LIMITS, ...limits } };
  await requireE2fsprogs();
  let announce: (copies: readonly CopyRun[]) => void = () => {};
  const announced = new Promise<readonly CopyRun[]>((resolve) => {
    announce = resolve;
  });
  const [report] = await together(
    signal,
    async (either) => {
      const onMessage = (message: unknown) => announce(copyRuns.parse(message));
      const report = await runOnThread({ work: 'build', input, result: rootfsReport, signal: either, onMessage });
      // e2fsck reads only metadata, which is complete by now, so it does not wait for the data (0.4 s of 2.4 s for a 1 GB image).
      await checkFileSystem(options.output, either);
      return report;
    },
    async (either) => {
      const data = await unlessAborted(announced, either);
      const copies = await shareData(data, options.layers, options.output, either);
      requireFreeSpace(
        options.output,
        copies.reduce((bytes, { blocks }) => bytes + blocks * BLOCK_SIZE, 0),
      );
      await copyData(copies, options.layers, options.output, either);
    },
  );
  return report;
}

/** Runs two jobs at the same time; if one fails, the other is aborted. Settles once both have. */
async function together<A, B>(
  signal: AbortSignal | undefined,
  first: (signal: AbortSignal) => Promise<A>,
  second: (signal: AbortSignal) => Promise<B>,
): Promise<[A, B]> {
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const stopping = async <T>(job: (signal: AbortSignal) => Promise<T>) => {
    try {
      return await job(either);
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  };
  const jobs = [stopping(first), stopping(second)] as const;
  try {
    return await Promise.all(jobs);
  } catch (error) {
    await Promise.allSettled(jobs);
    if (signal?.aborted) throw cancelled(signal.reason);
    throw toRootfsError(error);
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}
