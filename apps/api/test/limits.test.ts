import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { connectRedis, createTaskQueue } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { type Answer, errorBody, queuePull, startTestApi, type TestApi } from './support/api.ts';
import { resultOf, startWorker } from './support/worker.ts';

let redis: TestRedis;
let api: TestApi;

beforeAll(async () => {
  redis = await startRedis();
});
afterEach(() => api.close());
afterAll(() => redis.stop());

function expectRefused(answer: Answer, code: string, message = ''): void {
  expect(answer.status).toBe(429);
  expect(answer.headers['retry-after']).toMatch(/^\d+$/);
  expect(errorBody.parse(answer.body)).toMatchObject({ code, error: expect.stringContaining(message) });
}

test('one task more than an owner may have is refused, until another has ended', async () => {
  api = await startTestApi(redis.url, { ofOwner: 2, inAll: 100 });
  const pull = (ref: string) => api.send('POST', '/images/pull', { body: { ref } });
  const first = await pull('a');
  expect([first.status, (await pull('b')).status]).toEqual([202, 202]);
  expectRefused(await pull('c'), 'too_many_tasks');
  // Imports count, too, and are refused before their archive is kept.
  expectRefused(await api.send('POST', '/images/import?name=d', { raw: 'an archive' }), 'too_many_tasks');
  expect(await readdir(join(api.directory, 'uploads'))).toEqual([]);
  // The same pull again is the same task, not one more.
  expect((await pull('a')).body).toEqual(first.body);
  const worker = await startWorker(redis.url, async (job) => resultOf(job));
  while ((await pull('c')).status !== 202) await new Promise((resolve) => setTimeout(resolve, 10));
  await worker.close();
});

test('the imports and pulls of an owner take turns with those of others', async () => {
  const connection = connectRedis(redis.url, { use: 'worker' });
  const queue = createTaskQueue(connection);
  await queue.obliterate({ force: true });
  api = await startTestApi(redis.url);
  const { token } = await api.store.users.create('alice', 'user');
  for (const ref of ['a', 'b', 'c']) await queuePull(api.send, { ref });
  // The same pull again does not take another turn.
  for (let again = 0; again < 3; again++) await queuePull(api.send, { ref: 'a' });
  const priorityOf = async ({ text }: Answer) =>
    (await queue.getJob(/tsk_[a-z2-7]{12}/.exec(text)?.[0] ?? ''))?.priority ?? 0;
  const archive = { raw: 'an archive' };
  const fourth = await api.send('POST', '/images/import?name=d', archive);
  const headers = { authorization: `Bearer ${token}` };
  const others = await api.sendTcp('POST', '/images/import?name=d', { ...archive, headers });
  expect(await priorityOf(fourth)).toBe(4);
  // Before the second of the first owner.
  expect(await priorityOf(others)).toBe(1);
  await queue.close();
  connection.disconnect();
});

test('a full queue refuses every owner', async () => {
  const connection = connectRedis(redis.url, { use: 'worker' });
  const queue = createTaskQueue(connection);
  await queue.obliterate({ force: true });
  api = await startTestApi(redis.url, { ofOwner: 100, inAll: 1 });
  await queuePull(api.send, { ref: 'x' });
  expectRefused(
    await api.send('POST', '/images/pull', { body: { ref: 'y' } }),
    'queue_full',
    'with 1 task in progress',
  );
  expectRefused(await api.send('POST', '/images/import?name=y', { raw: 'an archive' }), 'queue_full');
  await queue.close();
  connection.disconnect();
});
