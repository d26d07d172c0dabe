import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import {
  enqueuePull,
  findPullUnderWay,
  findTask,
  isTaskId,
  jobError,
  KEY_PREFIX,
  queueKey,
  type TaskWorker,
} from '../index.ts';
import { data, QueueFixture, result } from './support/fixture.ts';

describe('the queue', () => {
  let fixture: QueueFixture;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterEach(() => fixture.reset());
  afterAll(() => fixture.stop());

  test('takes a pull under a task id of ours, all keys under one hash tag', async () => {
    const queue = fixture.queue();
    const { id, created } = await enqueuePull(queue, data);
    expect(isTaskId(id)).toBe(true);
    expect(created).toBe(true);
    expect((await queue.getJob(id))?.data).toEqual(data);
    const keys = await fixture.connect('request').keys('*');
    expect(keys.length).toBeGreaterThan(0);
    expect(keys.every((key) => key.startsWith(`${KEY_PREFIX}:`))).toBe(true);
  });

  test('gives an identical pull under way the same task, any other its own', async () => {
    const queue = fixture.queue();
    const first = await enqueuePull(queue, data);
    const again = await Promise.all(
      Array.from({ length: 20 }, () => enqueuePull(queue, { ...data, requested: 'other' })),
    );
    expect(new Set(again.map(({ id }) => id))).toEqual(new Set([first.id]));
    expect(again.some(({ created }) => created)).toBe(false);
    const others = await Promise.all(
      [
        { owner: 'ann' },
        { reference: 'docker.io/library/python:3.13' },
        { name: 'mine' },
        { platform: 'linux/arm64' },
        { sizeBytes: 2 ** 31 },
        { force: true },
        { sealedAuth: 'sealed' },
      ].map((change) => enqueuePull(queue, { ...data, ...change })),
    );
    expect(others.every(({ created }) => created)).toBe(true);
    expect(await queue.getWaitingCount()).toBe(8);
  });

  test('takes an identical pull anew when somebody has removed the job of the first from Redis', async () => {
    const queue = fixture.queue();
    const redis = fixture.connect('request');
    const { id } = await enqueuePull(queue, data);
    expect(await findPullUnderWay(queue, data)).toBe(id);
    await redis.del(queueKey(id));
    await redis.lrem(queueKey('wait'), 0, id);
    expect(await findPullUnderWay(queue, data)).toBeNull();
    // By the time that a look removed it, another may have put the next pull on the queue.
    expect(await redis.keys(queueKey('de:*'))).toHaveLength(1);
    expect((await enqueuePull(queue, data)).created).toBe(true);
  });

  test('takes an identical pull anew when the first has ended, well or not', async () => {
    const queue = fixture.queue();
    const ends = [
      async () => result,
      async () => Promise.reject(jobError({ code: 'x', message: 'y', retryable: false })),
    ];
    for (const end of ends) {
      const { id, created } = await enqueuePull(queue, data);
      expect(created).toBe(true);
      const worker = fixture.worker(end);
      await eventually(async () => (await findTask(queue, id))?.view.completed_at);
      await worker.close();
    }
  });

  test('tries again only what can help, and says why in between', async () => {
    const queue = fixture.queue();
    const attempts = new Map<string, number>();
    const worker = fixture.worker(async (job) => {
      attempts.set(job.data.name, (attempts.get(job.data.name) ?? 0) + 1);
      // Takes up nothing by itself, so that what is put off for a second is still that when it is looked at.
      if (job.data.name === 'passing') await worker.pause(true);
      throw jobError({ code: 'registry_error', message: '503', retryable: job.data.name === 'passing' });
    });
    const lasting = await enqueuePull(queue, { ...data, name: 'lasting' });
    const passing = await enqueuePull(queue, { ...data, name: 'passing' });
    await eventually(async () => (await findTask(queue, lasting.id))?.view.status === 'failed');
    const job = await eventually(async () => {
      const found = await queue.getJob(passing.id);
      return found?.attemptsMade === 1 ? found : undefined;
    });
    expect(await job.getState()).toBe('delayed');
    expect((await findTask(queue, passing.id))?.view).toMatchObject({
      status: 'queued',
      error: null,
      completed_at: null,
    });
    for (let attempt = 2; attempt <= 3; attempt += 1) {
      await eventually(async () => {
        const waiting = await queue.getJob(passing.id);
        if (waiting?.attemptsMade !== attempt - 1 || (await waiting.getState()) !== 'delayed') return false;
        // Ms: half to all of 2 s, then of 4 s.
        expect(waiting.delay).toBeGreaterThanOrEqual(1000 * (attempt - 1));
        return true;
      });
      await job.promote();
      worker.resume();
    }
    await eventually(async () => (await findTask(queue, passing.id))?.view.status === 'failed');
    expect(Object.fromEntries(attempts)).toEqual({ lasting: 1, passing: 3 });
  });
});

describe('the queue while Redis is away', () => {
  let fixture: QueueFixture;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterAll(() => fixture.stop());

  test('does not keep a worker that ends while it tries to connect again', async () => {
    const worker = fixture.worker(async () => result);
    // From then on it waits on its blocking connection only.
    await once(worker, 'drained');
    const blocking = await worker.backend.blockingClient;
    await fixture.server.kill();
    await eventually(() => blocking?.status === 'reconnecting');
    await worker.close();
    await fixture.server.start();
  });

  test('fails requests soon, also when it was away from the start, and works again when it is back', async () => {
    const before = fixture.queue();
    const { id } = await enqueuePull(before, data);
    await fixture.server.kill();
    const during = fixture.queue();
    const began = performance.now();
    for (const queue of [before, during]) {
      await expect(enqueuePull(queue, { ...data, name: 'lost' })).rejects.toThrow();
      await expect(findTask(queue, id)).rejects.toThrow();
    }
    // Each gives up within 3 s.
    expect(performance.now() - began).toBeLessThan(4 * 4000);
    await fixture.server.start();
    for (const queue of [before, during]) {
      const found = await eventually(() => findTask(queue, id).catch(() => undefined));
      expect(found.view.status).toBe('queued');
    }
  });

  test('lets workers wait for it and end their jobs', async () => {
    const queue = fixture.queue();
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const worker: TaskWorker = fixture.worker(async () => {
      await finished;
      return result;
    });
    const { id } = await enqueuePull(queue, { ...data, name: 'through' });
    await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
    await fixture.server.kill();
    finish();
    await fixture.server.start();
    const view = await eventually(async () => {
      const task = await findTask(queue, id).catch(() => null);
      return task?.view.status === 'completed' ? task.view : undefined;
    });
    expect(view.result).toEqual(result);
    await worker.close();
  });
});
