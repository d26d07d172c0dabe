import type { RedisClient } from '@bhatti/tasks';
import { KEY_PREFIX } from '@bhatti/tasks';

/** Claims outlive any task; those of tasks that are gone are told by the task's state. */
const KEEP_SECONDS = 7 * 24 * 3600;

const ofTask = (taskId: string): string => `${KEY_PREFIX}:task-partials:${taskId}`;
const ofPartial = (digest: string): string => `${KEY_PREFIX}:partial-tasks:${digest}`;

/**
 * Which tasks want which partial downloads: a cancelled task removes only those that no other task continues. Kept in
 * Redis, because the other task may run on another host, and the task itself may have begun on another worker.
 */
export class PartialClaims {
  readonly #redis: RedisClient;
  readonly #isLive: (taskId: string) => Promise<boolean>;

  /** @param isLive whether a task still waits or runs: the claims of any other count for nothing */
  constructor(redis: RedisClient, isLive: (taskId: string) => Promise<boolean>) {
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

  /** The digests that a task claims. */
  async of(taskId: string): Promise<string[]> {
    return this.#redis.smembers(ofTask(taskId));
  }

  /** Gives up all claims of a task. */
  async release(taskId: string): Promise<void> {
    const digests = await this.of(taskId);
    const commands = this.#redis.multi().del(ofTask(taskId));
    for (const digest of digests) commands.srem(ofPartial(digest), taskId);
    await commands.exec();
  }

  /** Whether another live task than this claims the partial. */
  async isWantedBesides(taskId: string, digest: string): Promise<boolean> {
    for (const other of await this.#redis.smembers(ofPartial(digest))) {
      if (other === taskId) continue;
      if (await this.#isLive(other)) return true;
      await this.#redis.srem(ofPartial(digest), other);
    }
    return false;
  }
}
