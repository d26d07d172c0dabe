import { parseFailure, type TaskJob, type WorkerMetrics } from '@bhatti/tasks';

/** Counts an attempt that this worker has ended: the end of the task, or a failure that is tried again. */
export function recordAttempt(metrics: WorkerMetrics, job: TaskJob | undefined): void {
  if (job === undefined) return;
  const { code } = job.failedReason ? parseFailure(job.failedReason, job.stalledCounter) : { code: 'none' };
  if (job.finishedOn === undefined) {
    // A job that was handed back has not failed: it is counted by the worker that ends it.
    if (code !== 'none') metrics.count('retries', { reason: code });
    return;
  }
  const isCompleted = job.returnvalue !== null && job.returnvalue !== undefined;
  const result = isCompleted ? 'completed' : code === 'cancelled' ? 'cancelled' : 'failed';
  // A job that was not queued by this API may have any name, or none.
  const type = job.name === 'import' ? 'import' : 'pull';
  metrics.count('tasks', { type, result, reason: isCompleted ? 'none' : code });
  metrics.observe('duration', { result }, (job.finishedOn - job.timestamp) / 1000);
  if (job.processedOn !== undefined) metrics.observe('waiting', {}, (job.processedOn - job.timestamp) / 1000);
}
