import { TaskError } from './error.ts';
import { KEY_PREFIX, type TaskQueue } from './queue.ts';
import type { RedisClient } from './redis-connection.ts';

/** How many tasks may be under way (waiting, running, or to be tried again). */
export interface TaskLimits {
  /** Of one owner. */
  readonly ofOwner: number;
  /** In all. */
  readonly inAll: number;
}

/** Ended tasks are kept a week; so long a set of task ids may matter. */
const keepSeconds = 7 * 24 * 3600;
const endedStates = new Set(['completed', 'failed', 'unknown']);

/**
 * Notes a task that is about to be put on the queue. Rejects with TaskError `too_many_tasks` or `queue_full`, retryable.
 * Two at the same moment may both pass: a limit is no promise to the digit.
 */
export async function admitTask(
  { queue, redis }: { readonly queue: TaskQueue; readonly redis: RedisClient },
  task: { readonly id: string; readonly owner: string },
  limits: TaskLimits,
): Promise<void> {
  const counts = await queue.getJobCounts('waiting', 'prioritized', 'delayed', 'active');
  const underWay = Object.values(counts).reduce((sum, count) => sum + count, 0);
  if (underWay >= limits.inAll) {
    throw new TaskError('queue_full', `the queue is full: ${underWay} tasks are under way; try again later`, {
      retryable: true,
    });
  }
  const key = `${KEY_PREFIX}:owner-tasks:${task.owner}`;
  if ((await redis.scard(key)) >= limits.ofOwner) await forgetEnded(queue, redis, key);
  if ((await redis.scard(key)) >= limits.ofOwner) {
    throw new TaskError(
      'too_many_tasks',
      `${limits.ofOwner} of your tasks are under way, and no more are allowed at a time; try again when some have ended`,
      { retryable: true },
    );
  }
  // Before it is on the queue: one that never gets there counts for nothing at the next look.
  await redis.multi().sadd(key, task.id).expire(key, keepSeconds).exec();
}

/** Only looked at when the limit seems to be reached, so that neither the end of a task nor a crash has to keep count. */
async function forgetEnded(queue: TaskQueue, redis: RedisClient, key: string): Promise<void> {
  const ids = await redis.smembers(key);
  const states = await Promise.all(ids.map((id) => queue.getJobState(id)));
  const ended = ids.filter((_, i) => endedStates.has(states[i] ?? 'unknown'));
  if (ended.length > 0) await redis.srem(key, ...ended);
}
