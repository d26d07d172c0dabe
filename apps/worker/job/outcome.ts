import type { RedisClient } from '@bhatti/tasks';
import { KEY_PREFIX, PullResult, TaskFailure } from '@bhatti/tasks';
import * as z from 'zod';

/** How a task ended. */
export const Outcome = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('completed'), result: PullResult }),
  z.object({ kind: z.literal('failed'), failure: TaskFailure }),
]);
export type Outcome = z.output<typeof Outcome>;

const KEEP_SECONDS = 7 * 24 * 3600;

const keyOf = (taskId: string): string => `${KEY_PREFIX}:outcome:${taskId}`;

/**
 * How tasks ended, for the moment between removing a task's credentials and BullMQ recording its end: should the worker die
 * in between, the one that takes the job over could not repeat the pull without them, and need not.
 */
export class Outcomes {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  async remember(taskId: string, outcome: Outcome): Promise<void> {
    await this.#redis.set(keyOf(taskId), JSON.stringify(outcome), 'EX', KEEP_SECONDS);
  }

  /** To be called once BullMQ has recorded the end: an operator may retry the task, which then ends anew. */
  async forget(taskId: string): Promise<void> {
    await this.#redis.del(keyOf(taskId));
  }

  async recall(taskId: string): Promise<Outcome | undefined> {
    const stored = await this.#redis.get(keyOf(taskId));
    return stored === null ? undefined : Outcome.parse(JSON.parse(stored));
  }
}
