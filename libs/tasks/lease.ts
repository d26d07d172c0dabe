import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis-connection.ts';
import { RedisScript } from './redis-script.ts';

/** Ms after which the lease of a dead worker is free: before its job is taken over, which takes 10 s or more. */
export const LEASE_TTL = 6000;

/** The lease of a layer that is being fetched: by the digest of the blob, because the partial file has that name. */
export const layerLease = (digest: string): string => `layer:${digest}`;

/** Ms between looks at a lease that another has. */
const defaultPollInterval = 100;

/** Keeps the lease, or takes back one that ran out while nobody else took it (Redis was away, say). */
const renewScript = new RedisScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`);

/** Gives the lease back only if it is ours still. */
const releaseScript = new RedisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`);

export interface LeaseOptions<T> {
  /** Ms after which the lease of a dead process is free. Renewed three times in that time while held. */
  readonly ttl: number;
  /** Ends the waiting, and through its own signal the work; the call rejects with its reason. */
  readonly signal: AbortSignal;
  /**
   * Asked before each attempt to take the lease: is the work done (by the one we wait for)? What it gives, unless
   * undefined, is the result, and the work is not done.
   */
  readonly recheck?: () => Promise<T | undefined>;
  /** Ms between attempts. */
  readonly pollInterval?: number;
}

/** The lease went to another holder; what was done stays valid, but another does it now. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

/**
 * Does the work while no other process does it: takes the lease `key`, waiting while another living process has it, runs
 * the work, gives the lease back. Leases save double work; correctness must not rest on them: a process that was stopped
 * for long loses its lease (the work's signal aborts with LeaseLost, and the call starts to wait anew).
 */
export async function withLease<T>(
  redis: RedisClient,
  key: string,
  options: LeaseOptions<T>,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const pollInterval = options.pollInterval ?? defaultPollInterval;
  for (;;) {
    options.signal.throwIfAborted();
    const done = await options.recheck?.();
    if (done !== undefined) return done;
    const lease = await takeLease(redis, key, options);
    if (lease === null) {
      await pause(pollInterval, options.signal);
      continue;
    }
    try {
      // Whoever had it may have finished between the question and the lease.
      const doneMeanwhile = await options.recheck?.();
      if (doneMeanwhile !== undefined) return doneMeanwhile;
      return await work(AbortSignal.any([options.signal, lease.lost]));
    } catch (error) {
      if (options.signal.aborted || !lease.lost.aborted) throw error;
    } finally {
      await lease.release();
    }
  }
}

/** A lease that is held and renewed. */
export interface Lease {
  /** Aborts with LeaseLost when another holds it. */
  readonly lost: AbortSignal;
  /** Never rejects: one that cannot be given back runs out. */
  release(): Promise<void>;
}

/** The lease, or null while another has it. Rejects with the signal's reason once that is aborted. */
export async function takeLease(
  redis: RedisClient,
  key: string,
  options: { readonly ttl: number; readonly signal: AbortSignal },
): Promise<Lease | null> {
  const { ttl, signal } = options;
  const redisKey = `${KEY_PREFIX}:lease:${key}`;
  const token = randomUUID();
  const release = async () => {
    await releaseScript.run(redis, [redisKey], [token]).catch(() => {});
  };
  const asked = redis.set(redisKey, token, 'PX', ttl, 'NX');
  try {
    if ((await unlessAborted(asked, signal)) === null) return null;
  } catch (error) {
    // The answer may come yet: what it gave is given back.
    void asked.then(release, release);
    throw error;
  }
  const lost = new AbortController();
  let renewing: Promise<void> | undefined;
  const timer = setInterval(() => {
    // One at a time: while Redis is away they would pile up.
    renewing ??= renew(redis, redisKey, token, ttl, lost).finally(() => {
      renewing = undefined;
    });
  }, ttl / 3);
  return {
    lost: lost.signal,
    release: async () => {
      clearInterval(timer);
      // A Redis that was started anew has to be sent its script first, and it would take the lease back after this.
      await renewing;
      await release();
    },
  };
}

/** Aborts `lost` where another has the lease by now. */
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
    // Redis is away: the lease may run out, the work goes on, and the next renewal tells whose it is.
    return;
  }
  lost.abort(new LeaseLost(`the lease ${redisKey} went to another holder`));
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
