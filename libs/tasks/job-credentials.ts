import type { TaskJob } from './queue.ts';

/** Removes the sealed credentials from a job whose task is ending or has ended. */
export async function removeCredentials(job: TaskJob): Promise<void> {
  if (job.data.type === 'import' || job.data.sealedAuth === undefined) return;
  const { sealedAuth: _, ...rest } = job.data;
  await job.updateData(rest);
}
