import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { errorBody, startTestApi, type TestApi } from './support/api.ts';
import { resultOf, startWorker } from './support/worker.ts';

let redis: TestRedis;
let api: TestApi;

beforeAll(async () => {
  redis = await startRedis();
  api = await startTestApi(redis.url);
});
afterAll(async () => {
  await api.close();
  await redis.stop();
});

const pull = (key: string, body: object) =>
  api.send('POST', '/images/pull', { body, headers: { 'Idempotency-Key': key } });

test('a pull sent again with its key is the same task, also after its end', async () => {
  const first = await pull('once', { ref: 'alpine', auth: 'user:hunter2' });
  expect(first.status).toBe(202);
  const again = await Promise.all([1, 2, 3].map(() => pull('once', { ref: 'alpine', auth: 'user:hunter2' })));
  const worker = await startWorker(redis.url, async (job) => resultOf(job));
  const id = /tsk_[a-z2-7]{12}/.exec(first.text)?.[0] ?? '';
  while (!(await api.send('GET', `/tasks/${id}?wait=5`)).text.includes('"status":"completed"'));
  await worker.close();
  for (const answer of [...again, await pull('once', { ref: 'alpine', auth: 'user:hunter2' })]) {
    expect(answer.body).toEqual(first.body);
  }
});

test('several at once with one key make one task; other keys make others', async () => {
  const answers = await Promise.all([1, 2, 3, 4].map(() => pull('together', { ref: 'debian', auth: 'a:b' })));
  expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  expect((await pull('alone', { ref: 'debian', auth: 'a:b' })).text).not.toBe(answers[0]?.text);
});

test('an identical pull under way lends its task to the key', async () => {
  const plain = await api.send('POST', '/images/pull', { body: { ref: 'busybox' } });
  expect((await pull('late', { ref: 'busybox' })).body).toEqual(plain.body);
  expect((await pull('late', { ref: 'busybox' })).body).toEqual(plain.body);
});

test('a key that comes with another request is refused, and one that is no key', async () => {
  await pull('reused', { ref: 'ubuntu' });
  const other = await pull('reused', { ref: 'fedora' });
  expect([other.status, errorBody.parse(other.body).code]).toEqual([422, 'idempotency_key_reused']);
  expect((await pull('x'.repeat(256), { ref: 'ubuntu' })).status).toBe(400);
});
