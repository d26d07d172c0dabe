import { readdir, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectRedis, createTaskQueue, type RedisClient, type TaskQueue, TaskView } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { errorBody, startTestApi, type TestApi } from './support/api.ts';

let redis: TestRedis;
let connection: RedisClient;
let queue: TaskQueue;
let api: TestApi;

beforeAll(async () => {
  redis = await startRedis();
  connection = connectRedis(redis.url, { use: 'worker' });
  queue = createTaskQueue(connection);
  api = await startTestApi(redis.url);
});
afterAll(async () => {
  await api.close();
  await queue.close();
  connection.disconnect();
  await redis.stop();
});
beforeEach(() => queue.obliterate({ force: true }));
afterEach(async () => {
  for (const name of await uploads()) await api.store.uploads.remove(name);
});

const uploads = () => readdir(join(api.directory, 'uploads'));

async function eventually(question: () => Promise<boolean>): Promise<void> {
  while (!(await question())) await sleep(20);
}

/** Sends the head of an upload, and what the test says after it. Resolves to all that was answered, once the connection ends. */
function rawUpload(lines: readonly string[], query = '?name=raw') {
  const socket = connect(api.socketPath);
  let received = '';
  socket.on('data', (data) => {
    received += data.toString();
  });
  socket.on('error', () => {});
  socket.write(`${[`POST /images/import${query} HTTP/1.1`, 'Host: x', ...lines].join('\r\n')}\r\n\r\n`);
  return {
    socket,
    received: () => received,
    answered: async (pattern: RegExp) => eventually(async () => pattern.test(received)),
  };
}

describe('POST /images/import', () => {
  test('keeps the body for its task, and tells which that is', async () => {
    const answer = await api.send(
      'POST',
      '/images/import?ref=ghcr.io/org/app:1.2&platform=arm64&size=1GiB&force=true',
      {
        raw: Buffer.alloc(300_000, 'x'),
      },
    );
    expect(answer).toMatchObject({ status: 202, body: { status: 'queued', name: 'app-1.2' } });
    const [id = ''] = await uploads();
    expect(answer.body).toMatchObject({ task_id: id });
    const file = await stat(api.store.uploads.path(id));
    expect([file.size, file.mode & 0o777]).toEqual([300_000, 0o600]);
    expect((await queue.getJob(id))?.data).toEqual({
      type: 'import',
      reference: 'ghcr.io/org/app:1.2',
      requested: 'ghcr.io/org/app:1.2',
      name: 'app-1.2',
      platform: 'linux/arm64',
      sizeBytes: 2 ** 30,
      owner: 'local',
      force: true,
      requestId: expect.any(String),
      archiveBytes: 300_000,
    });
    const view = TaskView.parse((await api.send('GET', `/tasks/${id}`)).body);
    expect(view).toMatchObject({ type: 'import', status: 'queued', name: 'app-1.2', ref: 'ghcr.io/org/app:1.2' });
  });

  test.each([
    ['', 'invalid_request'],
    ['?name=-no', 'invalid_name'],
    ['?ref=UPPER:1', 'invalid_reference'],
    ['?name=a&platform=windows/amd64', 'invalid_platform'],
    ['?name=a&size=huge', 'invalid_request'],
    ['?name=a&force=yes', 'invalid_request'],
    ['?name=a&name=b', 'invalid_request'],
    ['?name=a&tag=b', 'invalid_request'],
  ])('%s is refused as %s before the body is read', async (query, code) => {
    const refused = rawUpload(['Content-Length: 5', 'Expect: 100-continue'], query);
    await refused.answered(/}\n$/);
    refused.socket.destroy();
    expect(refused.received()).toMatch(/^HTTP\/1\.1 400 /);
    expect(refused.received()).toContain(`"code":"${code}"`);
    expect(await uploads()).toEqual([]);
  });

  test('a client that asks first is refused without sending, and told to go on where all is well', async () => {
    const wrong = rawUpload(['Content-Length: 99999999999999', 'Expect: 100-continue']);
    await wrong.answered(/^HTTP\/1\.1 507 .*"code":"no_space"/s);
    wrong.socket.destroy();
    const right = rawUpload(['Content-Length: 5', 'Expect: 100-continue']);
    await right.answered(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    right.socket.write('bytes');
    await right.answered(/HTTP\/1\.1 202 Accepted/);
    right.socket.destroy();
    expect(await uploads()).toHaveLength(1);
  });

  test('a body that goes on after a refusal is not read for long', async () => {
    const refused = rawUpload(['Content-Length: 99999999999999']);
    const ended = new Promise((resolve) => refused.socket.once('close', resolve));
    const sending = setInterval(() => refused.socket.write('x'.repeat(1000)), 50);
    await refused.answered(/"code":"no_space"/);
    await ended;
    clearInterval(sending);
  });

  test('a client that goes away leaves nothing', async () => {
    const logged = api.log().length;
    const { socket } = rawUpload(['Transfer-Encoding: chunked']);
    socket.write('5\r\nbytes\r\n');
    await eventually(async () => (await uploads()).length === 1);
    socket.destroy();
    await eventually(async () => (await uploads()).length === 0);
    expect(await queue.count()).toBe(0);
    expect(api.log().slice(logged)).not.toContain('"level":50');
  });

  test('an empty body is refused', async () => {
    const answer = await api.send('POST', '/images/import?name=a');
    expect(answer.status).toBe(400);
    expect(errorBody.parse(answer.body).error).toMatch(/^the body is empty/);
    expect(await uploads()).toEqual([]);
  });
});
