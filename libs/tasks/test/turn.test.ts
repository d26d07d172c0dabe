import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { enqueuePull, takeTurn } from '../index.ts';
import { data, QueueFixture, result } from './support/fixture.ts';

let fixture: QueueFixture;

beforeAll(async () => {
  fixture = await QueueFixture.start();
});
afterEach(() => fixture.reset());
afterAll(() => fixture.stop());

test('owners take turns, and the tasks of one keep their order', async () => {
  const queue = fixture.queue();
  const redis = fixture.connect('request');
  const enqueue = async (owner: string, number: number) => {
    const priority = await takeTurn(redis, owner);
    await enqueuePull(queue, { ...data, owner, name: `${owner}-${number}` }, { priority });
  };
  for (let i = 0; i < 100; i += 1) await enqueue('many', i);
  const order: string[] = [];
  const first = fixture.worker(
    async (job) => {
      order.push(job.data.name);
      if (order.length === 10) await first.pause(true);
      return result;
    },
    { concurrency: 1 },
  );
  await eventually(() => first.isPaused() && order.length >= 10);
  const begun = order.length;
  await enqueue('one', 0);
  for (let i = 100; i < 103; i += 1) await enqueue('many', i);
  for (let i = 0; i < 3; i += 1) await enqueue('three', i);
  first.resume();
  await eventually(() => order.length === 107);
  const many = order.filter((name) => name.startsWith('many-'));
  expect(many).toEqual(Array.from({ length: 103 }, (_, i) => `many-${i}`));
  expect(order.indexOf('one-0')).toBeLessThanOrEqual(begun + 3);
  expect(order.indexOf('three-2')).toBeLessThanOrEqual(begun + 10);
  expect(order.indexOf('three-0')).toBeLessThan(order.indexOf('three-1'));
});

test('a turn follows the last of its owner, but not before that of the head; an empty queue begins again', async () => {
  const queue = fixture.queue();
  const redis = fixture.connect('request');
  const tasks: string[] = [];
  for (const turn of [1, 2, 3]) {
    const priority = await takeTurn(redis, 'ann');
    expect(priority).toBe(turn);
    tasks.push((await enqueuePull(queue, { ...data, name: `turn-${turn}` }, { priority })).id);
  }
  expect(await takeTurn(redis, 'bob')).toBe(1);
  const [first, second, third] = tasks;
  for (const id of [first, second]) await queue.remove(id ?? '');
  expect(await takeTurn(redis, 'bob')).toBe(3);
  expect(await takeTurn(redis, 'carl')).toBe(3);
  expect(await takeTurn(redis, 'ann')).toBe(4);
  await queue.remove(third ?? '');
  expect(await takeTurn(redis, 'ann')).toBe(1);
});

test('a queue that never ran empty has turns still: the last one is that of all who come', async () => {
  const queue = fixture.queue();
  const redis = fixture.connect('request');
  await enqueuePull(queue, data, { priority: await takeTurn(redis, 'ann') });
  await redis.hset('{bhatti}:turns', 'ann', 2 ** 30);
  const priority = await takeTurn(redis, 'ann');
  const { id } = await enqueuePull(queue, { ...data, name: 'late' }, { priority });
  expect(await (await queue.getJob(id))?.getState()).toBe('prioritized');
});
