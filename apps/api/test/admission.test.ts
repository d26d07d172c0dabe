import { createSecretKey, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { connectRedis, createTaskId, createTaskQueue } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { removeUnlessQueued } from '../images/unqueued-upload.ts';
import { TaskService } from '../tasks/task-service.ts';
import {
  type Answer,
  errorBody,
  queuePull,
  startTestApi,
  startTestStack,
  type TestApi,
  type TestStack,
} from './support/api.ts';
import { resultOf, startWorker } from './support/worker.ts';

let api: TestStack;
beforeAll(async () => {
  api = await startTestStack();
});
afterAll(() => api.close());

const pull = (key: string, body: object) =>
  api.send('POST', '/images/pull', { body, headers: { 'Idempotency-Key': key } });

const idIn = ({ text }: { readonly text: string }) => /tsk_[a-z2-7]{12}/.exec(text)?.[0] ?? '';

test('a pull sent again with its key is the same task, also after its end', async () => {
  const first = await pull('once', { ref: 'alpine', auth: 'user:hunter2' });
  expect(first.status).toBe(202);
  const again = await Promise.all([1, 2, 3].map(() => pull('once', { ref: 'alpine', auth: 'user:hunter2' })));
  const worker = await startWorker(api.redis.url, async (job) => resultOf(job));
  const id = idIn(first);
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

test('a key whose task never came to the queue goes over to an identical pull, and stays with it', async () => {
  const body = { ref: 'gone' };
  const connection = connectRedis(api.redis.url, { use: 'request' });
  const queue = createTaskQueue(connection);
  const lost = await pull('lost', body);
  // As if the API had died between the key and the queue.
  await (await queue.getJob(idIn(lost)))?.remove();
  const plain = await api.send('POST', '/images/pull', { body });
  expect(plain.body).not.toEqual(lost.body);
  expect((await pull('lost', body)).body).toEqual(plain.body);
  await api.send('DELETE', `/tasks/${idIn(plain)}`);
  expect((await pull('lost', body)).body).toEqual(plain.body);
  await queue.close();
  connection.disconnect();
});

test('identical pulls at the same time, with keys of their own, are one task for each of the keys', async () => {
  const keys = ['mine', 'yours', 'theirs'];
  const all = () => Promise.all(keys.map(async (key) => idIn(await pull(key, { ref: 'shared' }))));
  const [id = '', ...others] = await all();
  expect(others).toEqual([id, id]);
  await api.send('DELETE', `/tasks/${id}`);
  expect(await all()).toEqual([id, id, id]);
});

test('a key that comes with another request is refused, and one that is no key', async () => {
  await pull('reused', { ref: 'ubuntu' });
  const other = await pull('reused', { ref: 'fedora' });
  expect([other.status, errorBody.parse(other.body).code]).toEqual([422, 'idempotency_key_reused']);
  // Of credentials not even a hash is kept to compare them by.
  expect((await pull('reused', { ref: 'ubuntu', auth: 'user:hunter2' })).status).toBe(202);
  expect((await pull('x'.repeat(256), { ref: 'ubuntu' })).status).toBe(400);
});

describe('an import', () => {
  const send = (key: string, query = '?name=imported', raw = 'an archive') =>
    api.send('POST', `/images/import${query}`, { raw, headers: { 'Idempotency-Key': key } });
  const uploads = () => readdir(join(api.directory, 'uploads'));

  test('sent again with its key is the same task, also at the same time and after its end, when it leaves no upload', async () => {
    const answers = await Promise.all([1, 2, 3].map(() => send('import')));
    const [id = '', ...others] = new Set(answers.map(idIn));
    expect([answers[0]?.status, others, await uploads()]).toEqual([202, [], [id]]);
    expect((await send('import')).body).toEqual(answers[0]?.body);
    expect((await send('another')).body).not.toEqual(answers[0]?.body);
    const worker = await startWorker(api.redis.url, async (job) => resultOf(job));
    while (!(await api.send('GET', `/tasks/${id}?wait=5`)).text.includes('"status":"completed"'));
    await worker.close();
    await api.store.uploads.remove(id);
    expect((await send('import')).body).toEqual(answers[0]?.body);
    expect(await uploads()).not.toContain(id);
  });

  test('with the key of another request is refused, and its body is not kept', async () => {
    await pull('of-a-pull', { ref: 'ubuntu' });
    expect((await send('of-an-import')).status).toBe(202);
    const before = await uploads();
    const longer = await send('of-an-import', '?name=imported', 'another archive');
    for (const answer of [await send('of-an-import', '?name=other'), longer, await send('of-a-pull')]) {
      expect([answer.status, errorBody.parse(answer.body).code]).toEqual([422, 'idempotency_key_reused']);
    }
    expect(await uploads()).toEqual(before);
  });

  test('that may have reached Redis before it died keeps its upload if it did, once Redis is back', async () => {
    const log = pino({ level: 'silent' });
    const secretKey = createSecretKey(randomBytes(32));
    const tasks = new TaskService({ redisUrl: api.redis.url, secretKey, limits: { ofOwner: 9, inAll: 9 }, log });
    await tasks.opened(5000);
    const id = idIn(await send('kept'));
    const lost = createTaskId();
    await api.store.uploads.receive(lost, Readable.from([Buffer.from('x')]));
    await api.redis.kill();
    const looking = [id, lost].map((upload) =>
      removeUnlessQueued({ store: api.store, tasks }, upload, { first: 0, next: 50 }),
    );
    await api.redis.start();
    await Promise.all(looking);
    await tasks.close();
    expect(await uploads()).toContain(id);
    expect(await uploads()).not.toContain(lost);
  });
});

describe('as many tasks as there may be', () => {
  let connection: ReturnType<typeof connectRedis>;
  let queue: ReturnType<typeof createTaskQueue>;
  let limited: TestApi;
  beforeEach(async () => {
    connection = connectRedis(api.redis.url, { use: 'worker' });
    queue = createTaskQueue(connection);
    await queue.obliterate({ force: true });
  });
  afterEach(async () => {
    await limited.close();
    await queue.close();
    connection.disconnect();
  });

  function expectRefused(answer: Answer, code: string, message = ''): void {
    expect(answer.status).toBe(429);
    expect(answer.headers['retry-after']).toMatch(/^\d+$/);
    expect(errorBody.parse(answer.body)).toMatchObject({ code, error: expect.stringContaining(message) });
  }

  test('one task more than an owner may have is refused, until another has ended', async () => {
    limited = await startTestApi(api.redis.url, { ofOwner: 2, inAll: 100 });
    const pull = (ref: string) => limited.send('POST', '/images/pull', { body: { ref } });
    const first = await pull('a');
    expect([first.status, (await pull('b')).status]).toEqual([202, 202]);
    expectRefused(await pull('c'), 'too_many_tasks');
    // Imports count, too, and are refused before their archive is kept.
    expectRefused(await limited.send('POST', '/images/import?name=d', { raw: 'an archive' }), 'too_many_tasks');
    expect(await readdir(join(limited.directory, 'uploads'))).toEqual([]);
    // The same pull again is the same task, not one more.
    expect((await pull('a')).body).toEqual(first.body);
    const worker = await startWorker(api.redis.url, async (job) => resultOf(job));
    while ((await pull('c')).status !== 202) await new Promise((resolve) => setTimeout(resolve, 10));
    await worker.close();
  });

  test('the imports and pulls of an owner take turns with those of others', async () => {
    limited = await startTestApi(api.redis.url);
    const { token } = await limited.store.users.create('alice', 'user');
    for (const ref of ['a', 'b', 'c']) await queuePull(limited.send, { ref });
    // The same pull again does not take another turn.
    for (let again = 0; again < 3; again++) await queuePull(limited.send, { ref: 'a' });
    const priorityOf = async ({ text }: Answer) =>
      (await queue.getJob(/tsk_[a-z2-7]{12}/.exec(text)?.[0] ?? ''))?.priority ?? 0;
    const archive = { raw: 'an archive' };
    const fourth = await limited.send('POST', '/images/import?name=d', archive);
    const headers = { authorization: `Bearer ${token}` };
    const others = await limited.sendTcp('POST', '/images/import?name=d', { ...archive, headers });
    expect(await priorityOf(fourth)).toBe(4);
    // Before the second of the first owner.
    expect(await priorityOf(others)).toBe(1);
  });

  test('a full queue refuses every owner', async () => {
    limited = await startTestApi(api.redis.url, { ofOwner: 100, inAll: 1 });
    await queuePull(limited.send, { ref: 'x' });
    expectRefused(
      await limited.send('POST', '/images/pull', { body: { ref: 'y' } }),
      'queue_full',
      'with 1 task in progress',
    );
    expectRefused(await limited.send('POST', '/images/import?name=y', { raw: 'an archive' }), 'queue_full');
  });
});
