import { kill } from 'node:process';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { type Answer, errorBody, queuePull, startTestApi, type TestApi } from './support/api.ts';
import { putImage } from './support/image.ts';
import { resultOf, startWorker } from './support/worker.ts';

describe('when Redis is away', () => {
  let redis: TestRedis;
  let api: TestApi;
  beforeEach(async () => {
    redis = await startRedis();
  });
  afterEach(async () => {
    await api.close();
    await redis.stop();
  });

  async function untilRedisIs(state: 'ok' | 'down'): Promise<void> {
    await eventually(async () => {
      const { body } = await api.send('GET', '/health');
      return JSON.stringify(body).includes(`"redis":"${state}"`);
    });
  }

  function expectUnavailable(answer: Answer): void {
    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toMatch(/^\d+$/);
    expect(errorBody.parse(answer.body).code).toBe('redis_unavailable');
  }

  async function expectTasksUnavailable(): Promise<void> {
    const asks = [
      api.send('POST', '/images/pull', { body: { ref: 'alpine' } }),
      api.send('GET', '/tasks/tsk_aaaaaaaaaaaa'),
      api.send('GET', '/tasks/tsk_aaaaaaaaaaaa?wait=60'),
      api.send('DELETE', '/tasks/tsk_aaaaaaaaaaaa'),
    ];
    for (const answer of await Promise.all(asks)) expectUnavailable(answer);
  }

  test('the API stops all the same', async () => {
    api = await startTestApi(redis.url);
    await redis.kill();
    await untilRedisIs('down');
    await api.stop();
  });

  test('the API starts without it, serves images, and finds it when it comes', async () => {
    await redis.kill();
    api = await startTestApi(redis.url);
    expect((await api.send('GET', '/health')).body).toMatchObject({ status: 'ok', redis: 'down' });
    await putImage(api.store, { name: 'here' });
    expect((await api.send('GET', '/images/here')).status).toBe(200);
    expect((await api.send('GET', '/images')).status).toBe(200);
    expect((await api.send('DELETE', '/images/here')).status).toBe(204);
    await expectTasksUnavailable();

    await redis.start();
    await untilRedisIs('ok');
    const id = await queuePull(api.send, { ref: 'alpine' });
    expect((await api.send('GET', `/tasks/${id}`)).body).toMatchObject({ status: 'queued' });
  });

  test('tasks answer 503 while it is gone, and events come again after that', async () => {
    api = await startTestApi(redis.url);
    const id = await queuePull(api.send, { ref: 'alpine' });
    const held = api.send('GET', `/tasks/${id}?wait=60`);
    await redis.kill();
    await untilRedisIs('down');
    await expectTasksUnavailable();
    expect(api.log()).toMatch(/"level":40,.*"code":"redis_unavailable"/);
    expect(api.log()).not.toContain('"level":50');
    await redis.start();
    await untilRedisIs('ok');
    const worker = await startWorker(redis.url, async (job) => resultOf(job));
    // An earlier poll gets either the loss or what came after it, but does not hang.
    expect([200, 503]).toContain((await held).status);
    for (;;) {
      const { text } = await api.send('GET', `/tasks/${id}?wait=60`);
      if (text.includes('"status":"completed"')) break;
    }
    await worker.close();
  });

  test('one that hangs is as good as away', async () => {
    api = await startTestApi(redis.url);
    kill(redis.pid(), 'SIGSTOP');
    await expectTasksUnavailable();
    expect((await api.send('GET', '/health')).body).toMatchObject({ redis: 'down' });
    kill(redis.pid(), 'SIGCONT');
    await untilRedisIs('ok');
    await queuePull(api.send, { ref: 'alpine' });
  });
});
