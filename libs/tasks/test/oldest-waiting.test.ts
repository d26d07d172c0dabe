import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { enqueuePull, oldestWaiting, queueKey, type RedisClient, type TaskQueue } from '../index.ts';
import { data, QueueFixture } from './support/fixture.ts';

let fixture: QueueFixture;
let queue: TaskQueue;
let redis: RedisClient;

beforeAll(async () => {
  fixture = await QueueFixture.start();
});
beforeEach(() => {
  // Not as a request, which gives up after three seconds: hundreds of tasks may take as long.
  queue = fixture.queue('worker');
  redis = fixture.connect('worker');
});
afterEach(() => fixture.reset());
afterAll(() => fixture.stop());

/** A task that waits in this turn (none: as one that an operator tries again), asked for at this time in ms. */
async function enqueue(priority: number | undefined, time: number | string): Promise<void> {
  const { id } = await enqueuePull(queue, { ...data, name: `at-${time}` }, priority === undefined ? {} : { priority });
  await redis.hset(`{bhatti}:images:${id}`, 'timestamp', time);
}

test('is when the task was asked for that has waited longest, wherever its turn is', async () => {
  expect(await oldestWaiting(queue)).toBeNull();
  await enqueue(4, 700);
  await enqueue(5, 300);
  await enqueue(5, 800);
  await enqueue(4, 900);
  await enqueue(2 ** 21 - 1, 600);
  expect(await oldestWaiting(queue)).toBe(300);
  await enqueue(undefined, 200);
  await enqueue(undefined, 250);
  expect(await oldestWaiting(queue)).toBe(200);
  // As an operator's tool has made them.
  await enqueue(6, 'noon');
  expect(await oldestWaiting(queue)).toBe(200);
});

test('is unknown where the only one that waits has no time, as an operator may leave it', async () => {
  await enqueue(undefined, 'noon');
  expect(await oldestWaiting(queue)).toBeNull();
  const [id = ''] = await redis.lrange(queueKey('wait'), 0, -1);
  await redis.hdel(queueKey(id), 'timestamp');
  expect(await oldestWaiting(queue)).toBeNull();
});

test('also among more turns than Redis looks at in one call', async () => {
  await Promise.all(Array.from({ length: 600 }, (_, i) => enqueue(i + 1, 10_000 - i)));
  expect(await oldestWaiting(queue)).toBe(9_401);
});
