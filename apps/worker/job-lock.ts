import type { RedisClient, TaskJob } from '@bhatti/tasks';
import { LOCK_DURATION, queueKey, RedisScript } from '@bhatti/tasks';

/**
 * Renews the lock KEYS[1] of the job ARGV[2], or takes back one that has run out where the job is nobody else's: it is among the active
 * ones still, from which BullMQ takes those that it gives to another, in one step. Both in one script: a renewal that Redis gets late
 * must come before BullMQ's next look for jobs without a lock.
 */
const holdScript = new RedisScript(`
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] and (holder or not redis.call('LPOS', KEYS[2], ARGV[2])) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SREM', KEYS[3], ARGV[2])
return 1`);

/**
 * Milliseconds between renewals of a lock that lasts so many: one falls between any two of BullMQ's looks for jobs without a lock
 * (`stalledInterval`), the first of which only marks them. So where the whole machine slept, and both are due as it wakes, the renewal
 * comes first.
 */
export function renewalInterval(duration: number): number {
  return duration / 5;
}

/** BullMQ's locks on running jobs: whose a job is. */
export class JobLock {
  readonly #redis: RedisClient;
  readonly #duration: number;

  /** @param duration ms that a lock lasts without being renewed */
  constructor(redis: RedisClient, duration: number = LOCK_DURATION) {
    this.#redis = redis;
    this.#duration = duration;
  }

  /** Whether the job is still held with this token, that is, by this run of it; or again, see `#hold`. */
  async isHeld(jobId: string, token: string): Promise<boolean> {
    const holder = await this.#redis.get(queueKey(`${jobId}:lock`));
    return holder === null ? this.#hold(jobId, token) : holder === token;
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
        if (!(await this.#hold(job.id ?? '', token))) onLost();
      } catch {
        // Redis is away; the next renewal tells whose it is.
      } finally {
        underWay = false;
      }
    };
    const timer = setInterval(renew, renewalInterval(this.#duration));
    return () => clearInterval(timer);
  }

  /**
   * Locks run out while Redis is away, or the whole machine sleeps. Nobody has died of that, and a job that nobody else has begun need
   * not be begun anew, nor count a death.
   */
  async #hold(jobId: string, token: string): Promise<boolean> {
    const keys = [queueKey(`${jobId}:lock`), queueKey('active'), queueKey('stalled')];
    return (await holdScript.run(this.#redis, keys, [token, jobId, this.#duration])) === 1;
  }
}
