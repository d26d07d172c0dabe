import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { cancelTask, createTaskId, enqueuePull, KEY_PREFIX, liveTask, type RedisClient, TaskClaims } from '../index.ts';
import { data, QueueFixture } from './support/fixture.ts';

describe('claims on files', () => {
  const WEEK_SECONDS = 7 * 24 * 3600;
  const [file, other] = ['sha256:aa', 'sha256:bb'];
  let fixture: QueueFixture;
  let redis: RedisClient;
  let ended: Set<string>;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterEach(() => fixture.reset());
  afterAll(() => fixture.stop());

  function open(kind: 'layer' | 'partial' = 'layer'): TaskClaims {
    redis = fixture.connect('worker');
    ended = new Set();
    return new TaskClaims(redis, kind, async (task) => !ended.has(task));
  }

  test('a file is wanted while a task that claims it lives, and not by the one that asks', async () => {
    const claims = open();
    expect(await claims.isWanted(file)).toBe(false);
    await claims.claim('one', [file]);
    await claims.claim('one', [other]);
    expect(await claims.isWanted(file)).toBe(true);
    expect(await claims.isWanted(file, 'one')).toBe(false);
    await claims.claim('two', [file]);
    expect(await claims.isWanted(file, 'one')).toBe(true);
    ended.add('two');
    expect(await claims.isWanted(file, 'one')).toBe(false);
    ended.add('one');
    expect(await claims.isWanted(file)).toBe(false);
    expect(await claims.isWanted(other)).toBe(false);
  });

  test('a claim of a task that has ended is dropped once it is seen, and no other', async () => {
    const claims = open();
    for (const task of ['one', 'two', 'three']) await claims.claim(task, [file]);
    ended.add('one').add('two');
    expect(await claims.isWanted(file, 'three')).toBe(false);
    expect(await redis.smembers(`${KEY_PREFIX}:claims:layer:${file}`)).toEqual(['three']);
  });

  test('a claim that is withdrawn stays in the list of its task', async () => {
    const claims = open();
    await claims.claim('one', [file, other]);
    await claims.withdraw('one', file);
    expect([await claims.isWanted(file), await claims.isWanted(other)]).toEqual([false, true]);
    expect((await claims.of('one')).sort()).toEqual([file, other]);
  });

  test('a task that releases leaves its files to others, and nothing of its own', async () => {
    const claims = open();
    await claims.claim('one', [file, other]);
    await claims.claim('two', [file]);
    await claims.release('one');
    expect(await claims.of('one')).toEqual([]);
    expect([await claims.isWanted(file), await claims.isWanted(other)]).toEqual([true, false]);
    await claims.release('two');
    expect(await redis.keys(`${KEY_PREFIX}:*`)).toEqual([]);
  });

  test('kinds are told apart, and every list goes after a week', async () => {
    const claims = open('partial');
    await claims.claim('one', [file]);
    expect(await new TaskClaims(redis, 'layer', async () => true).isWanted(file)).toBe(false);
    const keys = await redis.keys(`${KEY_PREFIX}:*`);
    expect(keys).toHaveLength(2);
    for (const key of keys) {
      const seconds = await redis.ttl(key);
      expect(seconds).toBeGreaterThan(WEEK_SECONDS - 600);
      expect(seconds).toBeLessThanOrEqual(WEEK_SECONDS);
    }
  });

  test('claiming nothing leaves nothing in Redis', async () => {
    await open().claim('one', []);
    expect(await redis.keys(`${KEY_PREFIX}:*`)).toEqual([]);
  });

  test('a task lives from when it is queued to its end; one that is not there does not', async () => {
    const queue = fixture.queue();
    const isLive = liveTask(queue);
    const { id } = await enqueuePull(queue, data, { id: createTaskId() });
    expect([await isLive(id), await isLive(createTaskId())]).toEqual([true, false]);
    await cancelTask(queue, fixture.relay(), id);
    expect(await isLive(id)).toBe(false);
  });
});
