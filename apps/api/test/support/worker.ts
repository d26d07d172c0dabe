import {
  connectRedis,
  type PullResult,
  QUEUE_NAME,
  RunningTasks,
  type TaskJob,
  type TaskWorker,
  workerOptions,
} from '@bhatti/tasks';
import { Worker } from 'bullmq';

export type Process = (job: TaskJob, signal: AbortSignal) => Promise<PullResult>;

export interface TestWorker {
  readonly worker: TaskWorker;
  readonly running: RunningTasks;
  readonly close: () => Promise<void>;
}

/** A real BullMQ worker whose jobs do what the test says. */
export async function startWorker(redisUrl: string, process: Process): Promise<TestWorker> {
  const connection = connectRedis(redisUrl, { use: 'worker' });
  const running = new RunningTasks();
  const worker: TaskWorker = new Worker(
    QUEUE_NAME,
    (job: TaskJob) => running.run(job.id ?? '', (signal) => process(job, signal)),
    workerOptions({ connection, concurrency: 10 }),
  );
  worker.on('error', () => {});
  await worker.waitUntilReady();
  return {
    worker,
    running,
    close: async () => {
      await worker.close(true);
      connection.disconnect();
    },
  };
}

export function resultOf(job: TaskJob): PullResult {
  return { image: job.data.name, digest: `sha256:${'b'.repeat(64)}`, sizeBytes: 1, steps: [], warnings: [] };
}

/** A promise that the test settles. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
