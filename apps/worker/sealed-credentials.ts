import type { PullJob } from '@bhatti/tasks';

/** Takes the sealed credentials out of a job whose task ends or has ended. */
export async function removeCredentials(job: PullJob): Promise<void> {
  const { sealedAuth, ...rest } = job.data;
  if (sealedAuth !== undefined) await job.updateData(rest);
}
