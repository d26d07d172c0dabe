import type { RedisClient } from '@bhatti/tasks';
import { KEY_PREFIX } from '@bhatti/tasks';

const KEEP_SECONDS = 7 * 24 * 3600;

const keyOf = (taskId: string): string => `${KEY_PREFIX}:begun:${taskId}`;

/**
 * Which workers have begun a task and never came to an end with it, in order: `host:pid, begun at <ISO 8601>`. That is who died
 * or hung over it, and the one that works on it now.
 */
export class WorkerDeaths {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  /**
   * Notes that the worker begins. Returns what takes the note away again: the attempt came to an end, whatever that is. That never
   * rejects: a note that Redis does not let go goes with the task.
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

  /** Once the task has ended. */
  async forget(taskId: string): Promise<void> {
    await this.#redis.del(keyOf(taskId));
  }
}
