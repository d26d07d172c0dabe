import type { Store } from '@bhatti/store';

/** Ms between the arrival of an upload and its task, at most: the API puts it on the queue at once, or removes the upload. */
const GRACE = 60_000;

/**
 * Removes uploads that no task under way has: an API died between the two, or Redis lost the task.
 *
 * @param isLive whether a task still waits or runs
 */
export async function collectUploads(
  { uploads }: Pick<Store, 'uploads'>,
  isLive: (taskId: string) => Promise<boolean>,
  graceMs = GRACE,
): Promise<void> {
  for (const id of await uploads.olderThan(graceMs)) if (!(await isLive(id))) await uploads.remove(id);
}
