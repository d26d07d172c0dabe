import { setTimeout as sleep } from 'node:timers/promises';
import { Job, type Relay, type Worker } from 'bullmq';
import * as z from 'zod';
import { TaskError } from './error.ts';
import { removeCredentials } from './job-credentials.ts';
import { type PullResult, TaskJobData } from './pull-task.ts';
import type { TaskJob, TaskJobName, TaskQueue } from './queue.ts';
import { findTask, isEnded, type TaskView } from './task-view.ts';

const topicPrefix = 'tasks.cancel.';

/** The reason of the signal that a cancelled job gets. */
const CANCELLED = 'cancelled';

/**
 * Ms between looks at the cancel flags of running jobs: a message gets lost while Redis is away, and for some 10 s after it has lost
 * its data. A look is one read.
 */
const recheckInterval = 1_000;

/** Ms that a cancellation waits for the relay. */
const publishTimeout = 1_000;

/** Ms between attempts to reach a job that a worker has fetched but not begun. */
const retryInterval = 25;

const cancelMessage = z.object({ id: z.string() });

/**
 * Cancels a task, wherever it is. One that waits (or waits to be tried again) shows as cancelled at once, and the next
 * free worker ends it; one that runs is told over the relay, and shows as cancelled when its worker has let go.
 * Rejects with TaskError `not_found` or `task_ended`.
 */
export async function cancelTask(queue: TaskQueue, relay: Relay, id: string): Promise<TaskView> {
  const before = (await findTask(queue, id))?.view;
  const job = before === undefined ? undefined : await queue.getJob(id);
  if (before === undefined || job === undefined) throw new TaskError('not_found', `there is no task ${id}`);
  if (isEnded(before.status) && before.status !== 'cancelled') {
    throw new TaskError('task_ended', `the task ${id} has ended already: ${before.status}`);
  }
  if (before.status === 'cancelled') return before;
  // The flag first: a worker that takes the job over, or fetches it this moment, reads the flag; the message reaches
  // the worker that runs it already.
  await job.updateData({ ...job.data, cancelRequested: true });
  // The same pull asked for again is a new task from now on.
  await job.removeDeduplicationKey();
  await announce(relay, id);
  await endSoon(job);
  const after = await queue.getJob(id);
  // It ended while its data were read and written here: what its worker had taken out of them is in them again.
  if (after?.finishedOn !== undefined) await removeCredentials(after);
  return (await findTask(queue, id))?.view ?? before;
}

/** Tries for a second. Workers look at the flag every second, too. */
async function announce(relay: Relay, id: string): Promise<void> {
  const published = relay.publish(`${topicPrefix}${id}`, { id }).then(
    () => {},
    () => {},
  );
  await Promise.race([published, sleep(publishTimeout, undefined, { ref: false })]);
}

/** One that waits for its next attempt is taken up now, to be ended. */
async function endSoon(job: TaskJob): Promise<void> {
  if ((await job.getState()) !== 'delayed') return;
  try {
    await job.promote();
  } catch {
    // It left the delayed set by itself meanwhile.
  }
}

export type TaskWorker = Worker<TaskJobData, PullResult, TaskJobName>;

export interface CancellationSubscription {
  /** Ends it; running jobs are not told of cancellations any more. */
  close(): Promise<void>;
}

/**
 * Tells the worker's running jobs when they are cancelled: their signal aborts with the reason `cancelled`. A job whose
 * data says `cancelRequested` when it is picked up is the processor's to end.
 */
export async function subscribeCancellations(relay: Relay, worker: TaskWorker): Promise<CancellationSubscription> {
  const running = new RunningJobs(worker);
  const subscription = await relay.subscribe(`${topicPrefix}*`, ({ data }) => {
    const message = cancelMessage.safeParse(data);
    if (message.success) worker.cancelJob(message.data.id, CANCELLED);
  });
  const recheckAll = () => running.recheckAll();
  relay.on('recovered', recheckAll);
  const timer = setInterval(recheckAll, recheckInterval);
  return {
    close: async () => {
      clearInterval(timer);
      relay.off('recovered', recheckAll);
      running.close();
      await subscription.unsubscribe();
    },
  };
}

/** The jobs that a worker has fetched and not ended, looked at by their flags. */
class RunningJobs {
  readonly #worker: TaskWorker;
  readonly #ids = new Set<string>();
  /** Looked at just now: while Redis is away looks would pile up, one a second for each. */
  readonly #looking = new Set<string>();

  constructor(worker: TaskWorker) {
    this.#worker = worker;
    worker.on('active', this.#began);
    worker.on('completed', this.#ended);
    worker.on('failed', this.#ended);
  }

  close(): void {
    this.#worker.off('active', this.#began);
    this.#worker.off('completed', this.#ended);
    this.#worker.off('failed', this.#ended);
    this.#ids.clear();
  }

  recheckAll(): void {
    for (const id of this.#ids) void this.#recheck(id);
  }

  readonly #began = (job: TaskJob): void => {
    if (job.id === undefined) return;
    this.#ids.add(job.id);
    // Cancelled between being read by the worker and being known here: the message has passed already.
    void this.#recheck(job.id);
  };

  readonly #ended = (job: TaskJob | undefined): void => {
    if (job?.id !== undefined) this.#ids.delete(job.id);
  };

  async #recheck(id: string): Promise<void> {
    if (this.#looking.has(id)) return;
    this.#looking.add(id);
    try {
      const job = await Job.fromId<unknown>(this.#worker, id);
      if (TaskJobData.safeParse(job?.data).data?.cancelRequested !== true) return;
    } catch {
      // Redis is away; the next look will tell.
      return;
    } finally {
      this.#looking.delete(id);
    }
    while (this.#ids.has(id) && !this.#worker.cancelJob(id, CANCELLED)) {
      await sleep(retryInterval);
    }
  }
}
