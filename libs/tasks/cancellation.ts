import { setTimeout as sleep } from 'node:timers/promises';
import type { Relay } from 'bullmq';
import * as z from 'zod';
import { TaskError } from './error.ts';
import { removeCredentials } from './job-credentials.ts';
import { TaskJobData } from './pull-task.ts';
import type { TaskJob, TaskQueue } from './queue.ts';
import type { RunningTasks } from './running-tasks.ts';
import { findTask, isEnded, type TaskView } from './task-view.ts';

const topicPrefix = 'tasks.cancel.';

/** Abort reason of a cancelled job's signal. */
const CANCELLED = 'cancelled';

/**
 * Ms between checks of the cancel flags of running jobs: messages get lost while Redis is unreachable, and for some 10 s after it has lost
 * its data. A check is a single read.
 */
const recheckInterval = 1_000;

/** Ms that a cancellation waits for its message to be published. */
const publishTimeout = 1_000;

const cancelMessage = z.object({ id: z.string() });

/**
 * Cancels a task in any state. A waiting one (also one waiting for a retry) shows as cancelled at once, and the next free
 * worker ends it; a running one is told over the relay, and shows as cancelled when its worker has stopped.
 * Rejects with TaskError `not_found` or `task_ended`.
 */
export async function cancelTask(queue: TaskQueue, relay: Relay, id: string): Promise<TaskView> {
  const before = (await findTask(queue, id))?.view;
  const job = before === undefined ? undefined : await queue.getJob(id);
  if (before === undefined || job === undefined) throw new TaskError('not_found', `there is no task ${id}`);
  if (isEnded(before.status)) throw new TaskError('task_ended', `the task ${id} has ended already: ${before.status}`);
  // The flag first: a worker that takes the job over, or fetches it right now, reads the flag; the message reaches the
  // worker that is already running it.
  await job.updateData({ ...job.data, cancelRequested: true });
  // From now on, a request for the same pull makes a new task.
  await job.removeDeduplicationKey();
  await announce(relay, id);
  await endSoon(job);
  const after = await queue.getJob(id);
  // If it ended between reading and writing its data above, the credentials that its worker had removed are back.
  if (after?.finishedOn !== undefined) await removeCredentials(after);
  return (await findTask(queue, id))?.view ?? before;
}

/** Publishes the cancellation, trying for a second. Workers also check the flag every second. */
async function announce(relay: Relay, id: string): Promise<void> {
  const published = relay.publish(`${topicPrefix}${id}`, { id }).then(
    () => {},
    () => {},
  );
  await Promise.race([published, sleep(publishTimeout, undefined, { ref: false })]);
}

/** Promotes a job that waits for its next attempt, so that a worker ends it now. */
async function endSoon(job: TaskJob): Promise<void> {
  if ((await job.getState()) !== 'delayed') return;
  try {
    await job.promote();
  } catch {
    // It has left the delayed set meanwhile.
  }
}

export interface CancellationSubscription {
  /** Ends the subscription: running tasks are no longer told of cancellations. */
  close(): Promise<void>;
}

/**
 * Tells running tasks when they are cancelled: their signal aborts with the reason `cancelled`. It is up to the processor to
 * end a job whose data says `cancelRequested` when it is picked up.
 */
export async function subscribeCancellations(
  relay: Relay,
  queue: TaskQueue,
  running: RunningTasks,
): Promise<CancellationSubscription> {
  const flags = new CancelFlags(queue, running);
  const subscription = await relay.subscribe(`${topicPrefix}*`, ({ data }) => {
    const message = cancelMessage.safeParse(data);
    if (message.success) running.stop(message.data.id, CANCELLED);
  });
  const lookAtAll = () => flags.lookAtAll();
  relay.on('recovered', lookAtAll);
  const timer = setInterval(lookAtAll, recheckInterval);
  // A task may be cancelled after the worker has read it and before it is known here, too late for the message.
  const unwatch = running.watch((id) => void flags.look(id));
  return {
    close: async () => {
      unwatch();
      clearInterval(timer);
      relay.off('recovered', lookAtAll);
      await subscription.unsubscribe();
    },
  };
}

/** Checks the `cancelRequested` flags of running tasks. */
class CancelFlags {
  readonly #queue: TaskQueue;
  readonly #running: RunningTasks;
  /** Checks in progress: without this, they would pile up while Redis is unreachable, one per second for each task. */
  readonly #looking = new Set<string>();

  constructor(queue: TaskQueue, running: RunningTasks) {
    this.#queue = queue;
    this.#running = running;
  }

  lookAtAll(): void {
    for (const id of this.#running.ids) void this.look(id);
  }

  async look(id: string): Promise<void> {
    if (this.#looking.has(id)) return;
    this.#looking.add(id);
    try {
      const job = await this.#queue.getJob(id);
      if (TaskJobData.safeParse(job?.data).data?.cancelRequested === true) this.#running.stop(id, CANCELLED);
    } catch {
      // Redis is unreachable; the next check will tell.
    } finally {
      this.#looking.delete(id);
    }
  }
}
