import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { claimKey, findKeyedTask, KEY_PREFIX, type KeyedRequest, type RedisClient, repointKey } from '../index.ts';
import { QueueFixture } from './support/fixture.ts';

describe('an idempotency key', () => {
  const request: KeyedRequest = { owner: 'ann', key: 'mine', content: { reference: 'python:3.12' } };
  const DAY_SECONDS = 24 * 3600;
  let fixture: QueueFixture;
  let redis: RedisClient;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterEach(() => fixture.reset());
  afterAll(() => fixture.stop());

  /** Seconds after which each key of Redis goes. */
  async function secondsLeft(): Promise<number[]> {
    const keys = await redis.keys(`${KEY_PREFIX}:*`);
    return Promise.all(keys.map((key) => redis.ttl(key)));
  }

  test('refers to the task that claimed it first', async () => {
    redis = fixture.connect('request');
    expect(await findKeyedTask(redis, request)).toBeNull();
    expect(await claimKey(redis, request, 'tsk_one')).toBe('tsk_one');
    expect(await claimKey(redis, request, 'tsk_two')).toBe('tsk_one');
    expect(await findKeyedTask(redis, request)).toBe('tsk_one');
  });

  test('is the owner’s own: nobody learns of another’s task, or is refused, by choosing the same', async () => {
    redis = fixture.connect('request');
    await claimKey(redis, request, 'tsk_anns');
    for (const content of [request.content, { reference: 'ubuntu' }]) {
      expect(await findKeyedTask(redis, { ...request, owner: 'bob', content })).toBeNull();
    }
    expect(await claimKey(redis, { ...request, owner: 'bob' }, 'tsk_bobs')).toBe('tsk_bobs');
    // Neither do an owner and a key that are another owner and key when they are put together.
    expect(await findKeyedTask(redis, { ...request, owner: 'annm', key: 'ine' })).toBeNull();
    expect(await findKeyedTask(redis, request)).toBe('tsk_anns');
  });

  test('with another content is refused, whoever claims or looks', async () => {
    redis = fixture.connect('request');
    await claimKey(redis, request, 'tsk_one');
    const other = { ...request, content: { reference: 'ubuntu' } };
    await expect(findKeyedTask(redis, other)).rejects.toMatchObject({ code: 'idempotency_key_reused' });
    await expect(claimKey(redis, other, 'tsk_two')).rejects.toMatchObject({ code: 'idempotency_key_reused' });
  });

  test('is kept for a day, also by the task that it is pointed to later', async () => {
    redis = fixture.connect('request');
    await claimKey(redis, request, 'tsk_one');
    await redis.expire((await redis.keys(`${KEY_PREFIX}:*`))[0] ?? '', 60);
    await repointKey(redis, request, 'tsk_two');
    expect(await findKeyedTask(redis, request)).toBe('tsk_two');
    await claimKey(redis, { ...request, key: 'other' }, 'tsk_three');
    const left = await secondsLeft();
    expect(left).toHaveLength(2);
    for (const seconds of left) {
      expect(seconds).toBeGreaterThan(DAY_SECONDS - 600);
      expect(seconds).toBeLessThanOrEqual(DAY_SECONDS);
    }
  });
});
