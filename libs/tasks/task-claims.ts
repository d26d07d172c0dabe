import { KEY_PREFIX, type TaskQueue } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';
import { findTask, isEnded } from './task-view.ts';

/** Longer than any task; claims of tasks that have ended are recognised by the task's state. */
const KEEP_SECONDS = 7 * 24 * 3600;

/**
 * What can be claimed: `partial` downloads, by the digest of the blob; cached layers that a task needs (`layer`), by diff_id; the
 * root filesystem that it is going to name (`rootfs`), by its key.
 */
export type ClaimKind = 'partial' | 'layer' | 'rootfs';

/** For `TaskClaims`: whether a task is still waiting or running. */
export function liveTask(queue: TaskQueue): (taskId: string) => Promise<boolean> {
  return async (taskId) => {
    const task = await findTask(queue, taskId);
    return task !== null && !isEnded(task.view.status);
  };
}

/**
 * Which tasks need which files of the cache, so that nobody removes what another task continues or needs. In Redis, because the
 * other task may run on another host, and the task itself may have begun on another worker. A task claims a file before it checks
 * whether it exists; whoever removes a file checks for claims after setting it aside.
 */
export class TaskClaims {
  readonly #redis: RedisClient;
  readonly #kind: ClaimKind;
  readonly #isLive: (taskId: string) => Promise<boolean>;

  /** @param isLive whether a task's claims count; see `liveTask` */
  constructor(redis: RedisClient, kind: ClaimKind, isLive: (taskId: string) => Promise<boolean>) {
    this.#redis = redis;
    this.#kind = kind;
    this.#isLive = isLive;
  }

  /** Claims files for a task, in addition to those it has claimed. */
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

  /** Withdraws a claim in the eyes of others (`isWanted`); it stays in the task's own list (`of`). */
  async withdraw(taskId: string, digest: string): Promise<void> {
    await this.#redis.srem(this.#ofFile(digest), taskId);
  }

  /** Releases all claims of a task. */
  async release(taskId: string): Promise<void> {
    const digests = await this.of(taskId);
    const commands = this.#redis.multi().del(this.#ofTask(taskId));
    for (const digest of digests) commands.srem(this.#ofFile(digest), taskId);
    await commands.exec();
  }

  /** Whether a live task, other than `besides`, claims the file. */
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
