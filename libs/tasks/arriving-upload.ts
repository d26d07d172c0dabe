import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';

/** Longest time between the arrival of an upload and its task on the queue: milliseconds, unless the API hangs or dies. */
const KEEP_SECONDS = 60;

const keyOf = (taskId: string): string => `${KEY_PREFIX}:arriving:${taskId}`;

/** Records that the upload of a task is about to appear, and the task soon after it. Valid for a minute by Redis's clock. */
export async function noteArrival(redis: RedisClient, taskId: string): Promise<void> {
  await redis.set(keyOf(taskId), '1', 'EX', KEEP_SECONDS);
}

/** Whether an upload may still be without its task. Call this before looking for the task, which comes later. */
export async function isArriving(redis: RedisClient, taskId: string): Promise<boolean> {
  return (await redis.exists(keyOf(taskId))) === 1;
}
