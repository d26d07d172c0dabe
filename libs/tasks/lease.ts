import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';
import { RedisScript } from './redis/redis-script.ts';

/** Ms after which a dead worker's lease expires: before its job is taken over, which takes 10 s or more. */
export const LEASE_TTL = 6000;

/** The lease key for fetching a layer: by the digest of the blob, after which the partial file is named. */
export const layerLease = (digest: string): string => `layer:${digest}`;

/** Ms between attempts to take a lease that another process holds. */
const defaultPollInterval = 100;

/** Renews the lease, or takes it back if it expired and nobody else took it (for example, Redis was unreachable). */
const renewScript = new RedisScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`);

/** Releases the lease if it is still ours. */
const releaseScript = new RedisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`);

export interface TakeLeaseOptions {
  /** Ms after which the lease of a dead process expires. Renewed three times in that time. Default: `LEASE_TTL`. */
  readonly ttl?: number;
  /** Ends the waiting and, through the work's own signal, the work; the call rejects with its reason. */
  readonly signal?: AbortSignal;
}

export interface LeaseOptions<T> extends TakeLeaseOptions {
  /**
   * Called before each attempt to take the lease, to see whether the process that we wait for has done the work. A result other than
   * undefined is returned, and the work is not run.
   */
  readonly recheck?: () => Promise<T | undefined>;
  /** Ms between attempts. */
  readonly pollInterval?: number;
}

/** The lease went to another holder. What was done remains valid, but the other one continues. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

/**
 * Runs work that no other process runs at the same time: takes the lease `key`, waiting while another living process has it, runs
 * the work, and releases the lease. Leases avoid double work, but correctness must not depend on them: a process that was suspended
 * for long loses its lease (the work's signal aborts with LeaseLost, and the call waits again).
 */
export async function withLease<T>(
  redis: RedisClient,
  key: string,
  options: LeaseOptions<T>,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { ttl, signal = never(), recheck, pollInterval = defaultPollInterval } = options;
  for (;;) {
    signal.throwIfAborted();
    const done = await recheck?.();
    if (done !== undefined) return done;
    const lease = await takeLease(redis, key, { ttl, signal });
    if (lease === null) {
      await pause(pollInterval, signal);
      continue;
    }
    try {
      // The previous holder may have finished between the check and the lease.
      const doneMeanwhile = await recheck?.();
      if (doneMeanwhile !== undefined) return doneMeanwhile;
      return await work(AbortSignal.any([signal, lease.lost]));
    } catch (error) {
      if (signal.aborted || !lease.lost.aborted) throw error;
    } finally {
      await lease.release();
    }
  }
}

/** A lease that is held, and renewed until it is released. */
export interface Lease {
  /** Aborts with LeaseLost when another process holds it. */
  readonly lost: AbortSignal;
  /** Never rejects: a lease that cannot be released expires. */
  release(): Promise<void>;
}

/** Takes the lease; null while another process has it. Rejects with the signal's reason when that aborts. */
export async function takeLease(
  redis: RedisClient,
  key: string,
  { ttl = LEASE_TTL, signal = never() }: TakeLeaseOptions = {},
): Promise<Lease | null> {
  const redisKey = `${KEY_PREFIX}:lease:${key}`;
  const token = randomUUID();
  const release = async () => {
    await releaseScript.run(redis, [redisKey], [token]).catch(() => {});
  };
  const asked = redis.set(redisKey, token, 'PX', ttl, 'NX');
  try {
    if ((await unlessAborted(asked, signal)) === null) return null;
  } catch (error) {
    // The reply may still come: if it granted the lease, that is released.
    void asked.then(release, release);
    throw error;
  }
  const lost = new AbortController();
  let renewing: Promise<void> | undefined;
  const timer = setInterval(() => {
    // One at a time: they would pile up while Redis is unreachable.
    renewing ??= renew(redis, redisKey, token, ttl, lost).finally(() => {
      renewing = undefined;
    });
  }, ttl / 3);
  return {
    lost: lost.signal,
    release: async () => {
      clearInterval(timer);
      // A renewal may still be in progress (a restarted Redis has to be sent the script first), and would take the lease again.
      await renewing;
      await release();
    },
  };
}

/** Renews the lease; aborts `lost` if another process has it by now. */
async function renew(
  redis: RedisClient,
  redisKey: string,
  token: string,
  ttl: number,
  lost: AbortController,
): Promise<void> {
  if (lost.signal.aborted) return;
  try {
    if ((await renewScript.run(redis, [redisKey], [token, ttl])) === 1) return;
  } catch {
    // Redis is unreachable: the lease may expire, the work goes on, and the next renewal tells whose the lease is.
    return;
  }
  lost.abort(new LeaseLost(`the lease ${redisKey} went to another holder`));
}

function never(): AbortSignal {
  return new AbortController().signal;
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let abandon = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    abandon = () => reject(signal.reason);
    signal.addEventListener('abort', abandon, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abandon);
  }
}
