import type { TaskQueue } from '@bhatti/tasks';

/** How the queue is, for those who run the service. */
export interface QueueState {
  /** By state: waiting, delayed, active, completed, failed. */
  readonly tasks: Readonly<Record<string, number>>;
  /** 0 when none waits. */
  readonly oldestWaitingSeconds: number;
  readonly isPaused: boolean;
  /** Names of the worker processes that are connected, `host:pid`. */
  readonly workers: readonly string[];
}

export async function readQueueState(queue: TaskQueue): Promise<QueueState> {
  const [tasks, [oldest], isPaused, workers] = await Promise.all([
    queue.getJobCounts('waiting', 'delayed', 'active', 'completed', 'failed'),
    queue.getJobs(['waiting'], 0, 0, true),
    queue.isPaused(),
    queue.getWorkers(),
  ]);
  return {
    tasks,
    oldestWaitingSeconds: oldest === undefined ? 0 : Math.max(0, (Date.now() - oldest.timestamp) / 1000),
    isPaused,
    // The name of the connection is that of the queue, `:w:`, and the worker's own.
    workers: [...new Set(workers.map(({ rawname = '' }) => rawname.slice(rawname.indexOf(':w:') + ':w:'.length)))],
  };
}
