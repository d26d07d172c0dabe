import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';

/** Longer than any task. */
const keepSeconds = 7 * 24 * 3600;

/**
 * Which layers (diff_ids) a task had to fetch, so that they can be removed if the disk fills up. In Redis, because the task may
 * have begun on another worker. Unlike `TaskClaims`, it means nothing to other tasks.
 */
export class FetchedLayers {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  async add(taskId: string, diffIds: readonly string[]): Promise<void> {
    if (diffIds.length === 0) return;
    const key = keyOf(taskId);
    await this.#redis
      .multi()
      .sadd(key, ...diffIds)
      .expire(key, keepSeconds)
      .exec();
  }

  async of(taskId: string): Promise<string[]> {
    return this.#redis.smembers(keyOf(taskId));
  }

  async forget(taskId: string): Promise<void> {
    await this.#redis.del(keyOf(taskId));
  }
}

function keyOf(taskId: string): string {
  return `${KEY_PREFIX}:task-claims:fetched:${taskId}`;
}
