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

/** The reason of the signal that a cancelled job gets. */
const CANCELLED = 'cancelled';

/**
 * Ms between looks at the cancel flags of running jobs: a message gets lost while Redis is away, and for some 10 s after it has lost
 * its data. A look is one read.
 */
const recheckInterval = 1_000;

/** Ms that a cancellation waits for the relay. */
const publishTimeout = 1_000;

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

export interface CancellationSubscription {
  /** Ends it; running tasks are not told of cancellations any more. */
  close(): Promise<void>;
}

/**
 * Tells the running tasks when they are cancelled: their signal aborts with the reason `cancelled`. A job whose
 * data says `cancelRequested` when it is picked up is the processor's to end.
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
  // Cancelled between being read by the worker and being known here: the message has passed already.
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

/** What the data of running tasks say of their being cancelled. */
class CancelFlags {
  readonly #queue: TaskQueue;
  readonly #running: RunningTasks;
  /** Looked at just now: while Redis is away looks would pile up, one a second for each. */
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
      // Redis is away; the next look will tell.
    } finally {
      this.#looking.delete(id);
    }
  }
}
