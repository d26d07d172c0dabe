import { KEY_PREFIX, QUEUE_NAME } from '@bhatti/tasks';
import type { Redis } from 'ioredis';

/** BullMQ's locks on running jobs: whose a job is. */
export class JobLock {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Whether the job is still held with this token, that is, by this run of it. */
  async isHeld(jobId: string, token: string): Promise<boolean> {
    return (await this.#redis.get(`${KEY_PREFIX}:${QUEUE_NAME}:${jobId}:lock`)) === token;
  }
}
