import type { RedisClient } from '@bhatti/tasks';
import { KEY_PREFIX, QUEUE_NAME } from '@bhatti/tasks';

/** BullMQ's locks on running jobs: whose a job is. */
export class JobLock {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  /** Whether the job is still held with this token, that is, by this run of it. */
  async isHeld(jobId: string, token: string): Promise<boolean> {
    return (await this.#redis.get(`${KEY_PREFIX}:${QUEUE_NAME}:${jobId}:lock`)) === token;
  }
}
