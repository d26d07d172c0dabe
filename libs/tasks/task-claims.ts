import { KEY_PREFIX, type TaskQueue } from './queue.ts';
import type { RedisClient } from './redis-connection.ts';
import { findTask, isEnded } from './task-view.ts';

/** Claims outlive any task; those of tasks that are gone are told by the task's state. */
const KEEP_SECONDS = 7 * 24 * 3600;

/**
 * What is claimed: `partial` downloads, by the digest of the blob; cached layers that a task needs (`layer`), by diff_id; the
 * root filesystem that it is to name (`rootfs`), by its key.
 */
export type ClaimKind = 'partial' | 'layer' | 'rootfs';

/** Whether a task still waits or runs, for `TaskClaims`. */
export function liveTask(queue: TaskQueue): (taskId: string) => Promise<boolean> {
  return async (taskId) => {
    const task = await findTask(queue, taskId);
    return task !== null && !isEnded(task.view.status);
  };
}

/**
 * Which tasks want which files of the cache: nobody removes what another task continues or needs. Kept in Redis, because
 * the other task may run on another host, and the task itself may have begun on another worker. A task claims before it
 * looks whether the file is there; who removes a file looks for claims after it has taken the file away.
 */
export class TaskClaims {
  readonly #redis: RedisClient;
  readonly #kind: ClaimKind;
  readonly #isLive: (taskId: string) => Promise<boolean>;

  /** @param isLive the claims of any other task count for nothing, see `liveTask` */
  constructor(redis: RedisClient, kind: ClaimKind, isLive: (taskId: string) => Promise<boolean>) {
    this.#redis = redis;
    this.#kind = kind;
    this.#isLive = isLive;
  }

  async claim(taskId: string, digests: readonly string[]): Promise<void> {
    if (digests.length === 0) return;
    const ofTask = this.#ofTask(taskId);
    const commands = this.#redis.multi();
    commands.sadd(ofTask, ...digests).expire(ofTask, KEEP_SECONDS);
    for (const digest of digests) {
      commands.sadd(this.#ofFile(digest), taskId).expire(this.#ofFile(digest), KEEP_SECONDS);
    }
    await commands.exec();
  }

  /** The digests that a task claims. */
  async of(taskId: string): Promise<string[]> {
    return this.#redis.smembers(this.#ofTask(taskId));
  }

  /** Lets others see the file no longer as the task's; that stays in the list of what it claims. */
  async withdraw(taskId: string, digest: string): Promise<void> {
    await this.#redis.srem(this.#ofFile(digest), taskId);
  }

  /** Gives up all claims of a task. */
  async release(taskId: string): Promise<void> {
    const digests = await this.of(taskId);
    const commands = this.#redis.multi().del(this.#ofTask(taskId));
    for (const digest of digests) commands.srem(this.#ofFile(digest), taskId);
    await commands.exec();
  }

  /** Whether a live task claims the file; with `besides`, one other than that. */
  async isWanted(digest: string, besides?: string): Promise<boolean> {
    for (const taskId of await this.#redis.smembers(this.#ofFile(digest))) {
      if (taskId === besides) continue;
      if (await this.#isLive(taskId)) return true;
      await this.#redis.srem(this.#ofFile(digest), taskId);
    }
    return false;
  }

  #ofTask(taskId: string): string {
    return `${KEY_PREFIX}:task-claims:${this.#kind}:${taskId}`;
  }

  #ofFile(digest: string): string {
    return `${KEY_PREFIX}:claims:${this.#kind}:${digest}`;
  }
}
