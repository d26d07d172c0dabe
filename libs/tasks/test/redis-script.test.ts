import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { RedisScript } from '../redis/redis-script.ts';
import { QueueFixture } from './support/fixture.ts';

let fixture: QueueFixture;

beforeAll(async () => {
  fixture = await QueueFixture.start();
});
afterEach(() => fixture.reset());
afterAll(() => fixture.stop());

test('a script gets its keys and arguments, also from a Redis that does not have it yet, or no more', async () => {
  const redis = fixture.connect('request');
  const script = new RedisScript(`return {KEYS[1], KEYS[2], ARGV[1], #KEYS, #ARGV}`);
  for (const flush of [false, false, true]) {
    if (flush) await redis.script('FLUSH');
    expect(await script.run(redis, ['{a}:1', '{a}:2'], [3])).toEqual(['{a}:1', '{a}:2', '3', 2, 1]);
  }
});

test('a script that fails is not run again: what it did before would be done twice', async () => {
  const redis = fixture.connect('request');
  const script = new RedisScript(`redis.call('INCR', KEYS[1]); return redis.call('LPUSH', KEYS[1], 'x')`);
  for (const runs of ['1', '2']) {
    await expect(script.run(redis, ['counter'], [])).rejects.toThrow('WRONGTYPE');
    expect(await redis.get('counter')).toBe(runs);
  }
});
