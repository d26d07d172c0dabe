import { getEventListeners } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedisGate } from '../../../test/support/redis-gate.ts';
import { connectRedis, KEY_PREFIX, LeaseLost, takeLease, withLease } from '../index.ts';
import { QueueFixture } from './support/fixture.ts';

const key = 'layer:sha256:abc';
const redisKey = `${KEY_PREFIX}:lease:${key}`;

describe('a lease', () => {
  let fixture: QueueFixture;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterEach(() => fixture.reset());
  afterAll(() => fixture.stop());

  test('lets one do the work at a time, and gives the lease back', async () => {
    const redis = fixture.connect('worker');
    let inside = 0;
    let most = 0;
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        withLease(redis, key, { ttl: 5000, pollInterval: 5 }, async () => {
          inside += 1;
          most = Math.max(most, inside);
          await sleep(5);
          inside -= 1;
          return index;
        }),
      ),
    );
    expect(results).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(most).toBe(1);
    expect(await redis.exists(redisKey)).toBe(0);
  });

  test('lets those who wait see that the work is done', async () => {
    const redis = fixture.connect('worker');
    let done: string | undefined;
    let worked = 0;
    const results = await Promise.all(
      Array.from({ length: 8 }, () =>
        withLease(redis, key, { ttl: 5000, pollInterval: 5, recheck: async () => done }, async () => {
          worked += 1;
          await sleep(20);
          done = 'built';
          return done;
        }),
      ),
    );
    expect(new Set(results)).toEqual(new Set(['built']));
    expect(worked).toBe(1);
  });

  test('that comes after the work is done leaves nothing to do', async () => {
    const redis = fixture.connect('worker');
    // Its last holder ends between the look and the lease.
    const looks = [undefined, 'built'];
    const result = await withLease(redis, key, { recheck: async () => looks.shift() }, async () => 'built again');
    expect(result).toBe('built');
    expect(await redis.exists(redisKey)).toBe(0);
  });

  test('is given back when the work fails', async () => {
    const redis = fixture.connect('worker');
    const failing = withLease(redis, key, { ttl: 5000 }, async () => {
      throw new Error('broken');
    });
    await expect(failing).rejects.toThrow('broken');
    expect(await redis.exists(redisKey)).toBe(0);
  });

  test('outlives its time while it is held', async () => {
    const redis = fixture.connect('worker');
    const lease = await takeLease(redis, key, { ttl: 600 });
    await sleep(1500);
    expect(lease?.lost.aborted).toBe(false);
    expect(await takeLease(redis, key, { ttl: 600 })).toBeNull();
    // Should its holder die now, it runs out all the same.
    expect(await redis.pttl(redisKey)).toBeGreaterThan(0);
    await lease?.release();
    expect(await redis.exists(redisKey)).toBe(0);
  });

  test('is renewed no more once it was given back, or went to another', async () => {
    const redis = fixture.connect('worker');
    const returned = await takeLease(redis, key, { ttl: 60 });
    await returned?.release();
    // Several renewals long.
    await sleep(100);
    expect(await redis.exists(redisKey)).toBe(0);
    const lost = await takeLease(redis, key, { ttl: 60 });
    await redis.set(redisKey, 'another', 'PX', 60_000);
    await eventually(() => lost?.lost.aborted);
    await redis.del(redisKey);
    await sleep(100);
    expect(await redis.exists(redisKey)).toBe(0);
    await lost?.release();
  });

  test('is not lost where Redis refuses to renew it, and one renewal waits for the other', async () => {
    const redis = fixture.connect('worker');
    const lease = await takeLease(redis, key, { ttl: 60 });
    const refuse: (() => void)[] = [];
    const renewals = jest.spyOn(redis, 'evalsha').mockImplementation(
      () =>
        new Promise((_resolve, reject) => {
          refuse.push(() => reject(new Error("OOM command not allowed when used memory > 'maxmemory'.")));
        }),
    );
    await eventually(() => refuse.length === 1);
    await sleep(100);
    expect(refuse).toHaveLength(1);
    refuse[0]?.();
    await eventually(() => refuse.length === 2);
    renewals.mockRestore();
    refuse[1]?.();
    expect(lease?.lost.aborted).toBe(false);
    await lease?.release();
  });

  test('is free some time after its holder died', async () => {
    const redis = fixture.connect('worker');
    await redis.set(redisKey, 'a dead process', 'PX', 100);
    const result = await withLease(redis, key, { ttl: 5000, pollInterval: 5 }, async () => 'mine');
    expect(result).toBe('mine');
  });

  test('that went to another is not given back, stops the work, and is waited for again', async () => {
    const redis = fixture.connect('worker');
    const reasons: unknown[] = [];
    let waits = 0;
    const recheck = async () => {
      // The other has it for a while yet.
      if (reasons.length > 0 && ++waits === 3) await redis.del(redisKey);
      return undefined;
    };
    const result = await withLease(redis, key, { ttl: 60, pollInterval: 5, recheck }, async (signal) => {
      if (reasons.length > 0) return 'done at last';
      await redis.set(redisKey, 'another', 'PX', 60_000);
      await eventually(() => signal.aborted);
      reasons.push(signal.reason);
      expect(await redis.get(redisKey)).toBe('another');
      throw signal.reason;
    });
    expect(reasons).toEqual([expect.any(LeaseLost)]);
    expect(waits).toBeGreaterThanOrEqual(3);
    expect(result).toBe('done at last');
  });

  test('ends the waiting when asked to', async () => {
    const redis = fixture.connect('worker');
    await redis.set(redisKey, 'another', 'PX', 60_000);
    const stop = new AbortController();
    const waiting = withLease(redis, key, { ttl: 5000, signal: stop.signal }, async () => 'mine');
    const reason = new Error('cancelled');
    stop.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  test('ends the waiting at once, also between two attempts', async () => {
    const redis = fixture.connect('worker');
    await redis.set(redisKey, 'another', 'PX', 600_000);
    const stop = new AbortController();
    const options = { ttl: 5000, pollInterval: 600_000, signal: stop.signal };
    const waiting = withLease(redis, key, options, async () => 'mine');
    // The answer to the first attempt came before this one.
    await redis.ping();
    await sleep(20);
    const reason = new Error('cancelled');
    stop.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  test('ends the work when asked to, and watches the signal no longer than that', async () => {
    const redis = fixture.connect('worker');
    const stop = new AbortController();
    const reason = new Error('cancelled');
    const working = withLease(redis, key, { ttl: 5000, signal: stop.signal }, async (signal) => {
      expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
      stop.abort(reason);
      signal.throwIfAborted();
      return 'done';
    });
    await expect(working).rejects.toBe(reason);
    expect(await redis.exists(redisKey)).toBe(0);
    // Nor is one taken for who was stopped before.
    await expect(takeLease(redis, key, { signal: stop.signal })).rejects.toBe(reason);
    await eventually(async () => (await redis.exists(redisKey)) === 0);
  });

  test('whose answer does not come in time is given back', async () => {
    const redis = fixture.connect('worker');
    const set = redis.set.bind(redis);
    const late = new Error('Command timed out');
    jest.spyOn(redis, 'set').mockImplementationOnce(async (...lease: Parameters<typeof set>) => {
      await set(...lease);
      throw late;
    });
    await expect(takeLease(redis, key, { ttl: 600_000 })).rejects.toBe(late);
    await eventually(async () => (await redis.exists(redisKey)) === 0);
  });

  test('survives an absence of Redis, and stops nobody', async () => {
    const redis = fixture.connect('worker');
    const lease = await takeLease(redis, key, { ttl: 300 });
    await fixture.server.kill();
    await sleep(400);
    await fixture.server.start();
    const other = fixture.connect('worker');
    await eventually(async () => (await other.exists(redisKey)) === 1);
    expect(lease?.lost.aborted).toBe(false);
    await lease?.release();
    expect(await other.exists(redisKey)).toBe(0);
  });

  test('stays given back when that crosses a renewal, whose script a Redis that was started anew does not know', async () => {
    const direct = fixture.connect('worker');
    const gate = await startRedisGate(fixture.server.socketPath, join(fixture.server.directory, 'gate.sock'));
    fixture.onEnd(() => gate.close());
    const redis = connectRedis(gate.socketPath, { use: 'worker' });
    fixture.onEnd(() => redis.disconnect());
    const lease = await takeLease(redis, key, { ttl: 600 });
    // The renewal is on its way.
    await gate.shut({ when: () => true, onShut: () => {} });
    await direct.script('FLUSH');
    // Others have given theirs back since Redis was started, and renewed none.
    await (await takeLease(direct, 'layer:another', { ttl: 60_000 }))?.release();
    const released = lease?.release();
    gate.open();
    await released;
    await redis.ping();
    expect(await direct.exists(redisKey)).toBe(0);
  });

  test('can be given up while Redis is away', async () => {
    const redis = fixture.connect('worker');
    await redis.ping();
    await fixture.server.kill();
    const stop = new AbortController();
    // Longer than a test may take: none runs out.
    const options = { ttl: 600_000, signal: stop.signal };
    const taking = takeLease(redis, key, options);
    const waiting = withLease(redis, key, options, async () => 'mine');
    stop.abort(new Error('cancelled'));
    await expect(taking).rejects.toThrow('cancelled');
    await expect(waiting).rejects.toThrow('cancelled');
    await fixture.server.start();
    // The command was waiting to be sent; what it takes is given back.
    await redis.ping();
    await eventually(async () => (await redis.exists(redisKey)) === 0);
  });
});
