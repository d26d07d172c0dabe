import type { TaskJob } from './queue.ts';

/** Takes the sealed credentials out of a job whose task ends or has ended. */
export async function removeCredentials(job: TaskJob): Promise<void> {
  if (job.data.type === 'import' || job.data.sealedAuth === undefined) return;
  const { sealedAuth: _, ...rest } = job.data;
  await job.updateData(rest);
}
