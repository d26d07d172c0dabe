import type { RedisClient, TaskJob } from '@bhatti/tasks';
import { LOCK_DURATION, queueKey, RedisScript } from '@bhatti/tasks';

/**
 * Renews the lock KEYS[1] of the job ARGV[2], or takes back one that has run out if nobody else has the job: then it is still
 * among the active ones, from which BullMQ removes a job in the step that gives it to another. One script for both, as a
 * renewal that reaches Redis late must come before BullMQ's next check for stalled jobs.
 */
const holdScript = new RedisScript(`
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] and (holder or not redis.call('LPOS', KEYS[2], ARGV[2])) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SREM', KEYS[3], ARGV[2])
return 1`);

/**
 * Milliseconds between renewals of a lock that lasts `duration` ms. Short enough for one to fall between any two of BullMQ's
 * checks for stalled jobs (`stalledInterval`), the first of which only marks them. So after the whole machine has slept, and
 * both are due as it wakes, the renewal comes first.
 */
export function renewalInterval(duration: number): number {
  return duration / 5;
}

/** BullMQ's locks on running jobs, which say whose a job is. */
export class JobLock {
  readonly #redis: RedisClient;
  readonly #duration: number;

  /** @param duration ms that a lock lasts without being renewed */
  constructor(redis: RedisClient, duration: number = LOCK_DURATION) {
    this.#redis = redis;
    this.#duration = duration;
  }

  /** Whether this run of the job, to which the token belongs, holds it. Takes back a lock that has run out, see `hold`. */
  async isHeld(jobId: string, token: string): Promise<boolean> {
    const holder = await this.#redis.get(queueKey(`${jobId}:lock`));
    return holder === null ? this.hold(jobId, token) : holder === token;
  }

  /**
   * Renews the lock of a job until the returned function is called. This replaces BullMQ's own renewal, which goes by the wall
   * clock: after that is set back, it renews nothing for as long, and another worker starts the job beside this one.
   * @param onLost the job went to another worker: this process hung, or Redis was away
   */
  keep(job: TaskJob, token: string, onLost: () => void): () => void {
    let underWay = false;
    const renew = async () => {
      // One at a time: they would pile up while Redis is away.
      if (underWay) return;
      underWay = true;
      try {
        if (!(await this.hold(job.id ?? '', token))) onLost();
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
   * Renews the lock, or takes it back; resolves with false when the job is another's. Rejects while Redis takes no writes.
   *
   * Locks run out while Redis is away, or the whole machine sleeps. No worker has died then, so a job that no other worker has
   * started need not start over, nor count as one whose worker died.
   */
  async hold(jobId: string, token: string): Promise<boolean> {
    const keys = [queueKey(`${jobId}:lock`), queueKey('active'), queueKey('stalled')];
    return (await holdScript.run(this.#redis, keys, [token, jobId, this.#duration])) === 1;
  }
}
