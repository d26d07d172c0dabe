import { KEY_PREFIX } from '@bhatti/tasks';
import type { Redis } from 'ioredis';

/** Claims outlive any task; those of tasks that are gone are told by the task's state. */
const KEEP_SECONDS = 7 * 24 * 3600;

const ofTask = (taskId: string): string => `${KEY_PREFIX}:task-partials:${taskId}`;
const ofPartial = (digest: string): string => `${KEY_PREFIX}:partial-tasks:${digest}`;

/**
 * Which tasks want which partial downloads: a cancelled task removes only those that no other task continues. Kept in
 * Redis, because the other task may run on another host, and the task itself may have begun on another worker.
 */
export class PartialClaims {
  readonly #redis: Redis;
  readonly #isLive: (taskId: string) => Promise<boolean>;

  /** @param isLive whether a task still waits or runs: the claims of any other count for nothing */
  constructor(redis: Redis, isLive: (taskId: string) => Promise<boolean>) {
    this.#redis = redis;
    this.#isLive = isLive;
  }

  async claim(taskId: string, digests: readonly string[]): Promise<void> {
    if (digests.length === 0) return;
    const commands = this.#redis.multi();
    commands.sadd(ofTask(taskId), ...digests).expire(ofTask(taskId), KEEP_SECONDS);
    for (const digest of digests) {
      commands.sadd(ofPartial(digest), taskId).expire(ofPartial(digest), KEEP_SECONDS);
    }
    await commands.exec();
  }

  /** Gives up all claims of a task and returns the digests it had claimed. */
  async release(taskId: string): Promise<string[]> {
    const digests = await this.#redis.smembers(ofTask(taskId));
    const commands = this.#redis.multi().del(ofTask(taskId));
    for (const digest of digests) commands.srem(ofPartial(digest), taskId);
    await commands.exec();
    return digests;
  }

  /** Whether a live task claims the partial. */
  async isWanted(digest: string): Promise<boolean> {
    for (const taskId of await this.#redis.smembers(ofPartial(digest))) {
      if (await this.#isLive(taskId)) return true;
      await this.#redis.srem(ofPartial(digest), taskId);
    }
    return false;
  }
}
