import type { RedisClient } from '@bhatti/tasks';
import { KEY_PREFIX } from '@bhatti/tasks';

const KEEP_SECONDS = 7 * 24 * 3600;

const keyOf = (taskId: string): string => `${KEY_PREFIX}:begun:${taskId}`;

/**
 * Which workers have begun a task and not ended their attempt, in order: `host:pid, begun at <ISO 8601>`. These are the ones
 * that died or hung, and the one that works on it now.
 */
export class WorkerDeaths {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  /**
   * Notes that the worker begins. Returns the function that removes the note when the attempt ends, however it does. That one
   * never rejects: a note that could not be removed is removed with the task.
   */
  async begin(taskId: string, worker: string): Promise<() => Promise<void>> {
    const note = `${worker}, begun at ${new Date().toISOString()}`;
    await this.#redis.multi().rpush(keyOf(taskId), note).expire(keyOf(taskId), KEEP_SECONDS).exec();
    return async () => {
      await this.#redis.lrem(keyOf(taskId), -1, note).catch(() => 0);
    };
  }

  async of(taskId: string): Promise<string[]> {
    return this.#redis.lrange(keyOf(taskId), 0, -1);
  }

  /** To be called once the task has ended. */
  async forget(taskId: string): Promise<void> {
    await this.#redis.del(keyOf(taskId));
  }
}
