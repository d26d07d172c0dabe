import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { emptyUnreadableFields, queueKey } from '../index.ts';
import { QueueFixture } from './support/fixture.ts';

let fixture: QueueFixture;

beforeAll(async () => {
  fixture = await QueueFixture.start();
});
afterEach(() => fixture.reset());
afterAll(() => fixture.stop());

test('of the active jobs, what is no JSON object is emptied and told, and nothing else is touched', async () => {
  const redis = fixture.connect('request');
  const jobs: Record<string, Record<string, string>> = {
    whole: { data: '{"a":1}', opts: '{"attempts":3}', progress: '{"phase":"resolving"}' },
    // BullMQ writes the progress later. Data that Redis has lost must not look as if somebody had put none there.
    beginning: { data: '{}', opts: '{}' },
    lost: { timestamp: '1' },
    cut: { data: '{"a":', opts: '{}', progress: '0' },
    none: { data: 'null', opts: 'null', progress: '' },
    waiting: { data: 'broken' },
  };
  for (const [id, fields] of Object.entries(jobs)) {
    await redis.hset(queueKey(id), fields);
    await redis.rpush(queueKey(id === 'waiting' ? 'wait' : 'active'), id);
  }
  const told = ['cut (data)', 'cut (progress)', 'none (data)', 'none (opts)', 'none (progress)'];
  expect(await emptyUnreadableFields(redis)).toEqual(told);
  const emptied = { ...jobs, cut: { data: '{}', opts: '{}', progress: '{}' } };
  const expected = { ...emptied, none: { data: '{}', opts: '{}', progress: '{}' } };
  for (const [id, fields] of Object.entries(expected)) expect(await redis.hgetall(queueKey(id))).toEqual(fields);
  expect(await emptyUnreadableFields(redis)).toEqual([]);
});
