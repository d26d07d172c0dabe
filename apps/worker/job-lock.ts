import type { RedisClient, TaskJob } from '@bhatti/tasks';
import { LOCK_DURATION, queueKey } from '@bhatti/tasks';

/** BullMQ's locks on running jobs: whose a job is. */
export class JobLock {
  readonly #redis: RedisClient;
  readonly #duration: number;

  /** @param duration ms that a lock lasts without being renewed */
  constructor(redis: RedisClient, duration: number = LOCK_DURATION) {
    this.#redis = redis;
    this.#duration = duration;
  }

  /** Whether the job is still held with this token, that is, by this run of it. */
  async isHeld(jobId: string, token: string): Promise<boolean> {
    return (await this.#redis.get(queueKey(`${jobId}:lock`))) === token;
  }

  /**
   * Renews the lock of a job until the function returned is called. In place of BullMQ's own renewal, which goes by the wall clock: for
   * as long as that is set back, it renews nothing, and the job is begun by another worker beside this one.
   * @param onLost the job went to another worker: this process hung, or Redis was away
   */
  keep(job: TaskJob, token: string, onLost: () => void): () => void {
    let underWay = false;
    const renew = async () => {
      // One at a time: while Redis is away they would pile up.
      if (underWay) return;
      underWay = true;
      try {
        if ((await job.extendLock(token, this.#duration)) !== 1) onLost();
      } catch {
        // Redis is away; the next renewal tells whose it is.
      } finally {
        underWay = false;
      }
    };
    const timer = setInterval(renew, this.#duration / 3);
    return () => clearInterval(timer);
  }
}
