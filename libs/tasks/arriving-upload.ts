import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis-connection.ts';

/** From the arrival of an upload to its task on the queue, at most: milliseconds, unless the API hangs or dies. */
const KEEP_SECONDS = 60;

const keyOf = (taskId: string): string => `${KEY_PREFIX}:arriving:${taskId}`;

/** Notes that the upload of a task is about to be there, and its task soon after it. For a minute of Redis' clock, the only one that counts. */
export async function noteArrival(redis: RedisClient, taskId: string): Promise<void> {
  await redis.set(keyOf(taskId), '1', 'EX', KEEP_SECONDS);
}

/** Whether an upload may be without its task. Asked before whether there is a task: that comes later. */
export async function isArriving(redis: RedisClient, taskId: string): Promise<boolean> {
  return (await redis.exists(keyOf(taskId))) === 1;
}
