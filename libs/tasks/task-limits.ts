import { counted } from './counted.ts';
import { TaskError } from './error.ts';
import { KEY_PREFIX, queueKey } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';
import { RedisScript } from './redis/redis-script.ts';

/** How many tasks may be in progress (waiting, running, or to be retried). */
export interface TaskLimits {
  /** Per owner. */
  readonly ofOwner: number;
  /** In all. */
  readonly inAll: number;
}

/** Ended tasks are kept for a week, and a set of task ids may matter for as long. */
const keepSeconds = 7 * 24 * 3600;

/**
 * Adds the task ARGV[1] to the set of its owner, KEYS[1], and returns -1. If there are too many, returns how many are in progress in
 * all, or -2 when the owner's set is full. The limits are ARGV[2] (in all) and ARGV[3].
 */
const admitScript = new RedisScript(`
local underWay = redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3]) + redis.call('LLEN', KEYS[4]) + redis.call('LLEN', KEYS[5])
if underWay >= tonumber(ARGV[2]) then return underWay end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[3]) then return -2 end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return -1`);

/** Removes tasks that have ended, or no longer exist, from the set KEYS[1]; ARGV[1] is the prefix of job keys. */
const forgetScript = new RedisScript(`
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local fields = redis.call('HMGET', ARGV[1] .. id, 'timestamp', 'finishedOn')
  if not fields[1] or fields[2] then redis.call('SREM', KEYS[1], id) end
end`);

/**
 * Admits a task that is about to be added to the queue. Rejects with TaskError `too_many_tasks` or `queue_full`, retryable.
 * If it never reaches the queue, it is not counted any more once the owner's limit is reached.
 */
export async function admitTask(
  redis: RedisClient,
  task: { readonly id: string; readonly owner: string },
  limits: TaskLimits,
): Promise<void> {
  const owned = `${KEY_PREFIX}:owner-tasks:${task.owner}`;
  const keys = [owned, ...['prioritized', 'delayed', 'wait', 'active'].map(queueKey)];
  const admit = async () =>
    Number(await admitScript.run(redis, keys, [task.id, limits.inAll, limits.ofOwner, keepSeconds]));
  let answer = await admit();
  if (answer === -2) {
    // Only cleaned up when the limit seems to be reached, so that nothing has to be updated when a task ends or a process crashes.
    await forgetScript.run(redis, [owned], [queueKey('')]);
    answer = await admit();
  }
  if (answer === -1) return;
  throw answer === -2
    ? new TaskError(
        'too_many_tasks',
        `you have ${counted(limits.ofOwner, 'task')} in progress, which is the limit; try again when one has ended`,
        { retryable: true },
      )
    : new TaskError('queue_full', `the queue is full, with ${counted(answer, 'task')} in progress; try again later`, {
        retryable: true,
      });
}
