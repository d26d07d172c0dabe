import { createSecretKey, randomBytes } from 'node:crypto';
import type { RedisClient } from '@bhatti/tasks';
import {
  connectRedis,
  createTaskQueue,
  createTaskRelay,
  jobError,
  subscribeCancellations,
  type TaskJob,
  TaskView,
} from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { TaskList } from '../api-schema.ts';
import { TaskService } from '../tasks/task-service.ts';
import { errorBody, queuePull, startTestApi, type TestApi } from './support/api.ts';
import { gate, type Process, resultOf, startWorker, type TestWorker } from './support/worker.ts';

const resolving = { phase: 'resolving', line: 'resolving manifest...' } as const;

describe('tasks', () => {
  let redis: TestRedis;
  let api: TestApi;
  let connection: RedisClient;
  let worker: TestWorker | undefined;
  let pulls = 0;
  beforeAll(async () => {
    redis = await startRedis();
    api = await startTestApi(redis.url);
    connection = connectRedis(redis.url, { use: 'worker' });
  });
  afterEach(async () => {
    await worker?.close();
    worker = undefined;
  });
  afterAll(async () => {
    connection.disconnect();
    await api.close();
    await redis.stop();
  });

  async function work(process: Process): Promise<void> {
    worker = await startWorker(redis.url, process);
  }

  function queue(): Promise<string> {
    pulls += 1;
    return queuePull(api.send, { ref: `alpine:${pulls}` });
  }

  async function view(id: string, query = ''): Promise<TaskView> {
    const answer = await api.send('GET', `/tasks/${id}${query}`);
    expect(answer.status).toBe(200);
    return TaskView.parse(answer.body);
  }

  /** Polls as the CLI does, until the task is as wanted. */
  async function until(id: string, done: (task: TaskView) => boolean): Promise<TaskView> {
    let task = await view(id);
    while (!done(task)) task = await view(id, `?wait=30&seen=${encodeURIComponent(task.progress ?? '')}`);
    return task;
  }

  function report(job: TaskJob, line: string): Promise<void> {
    return job.updateProgress({ phase: 'downloading', line, steps: [resolving, { phase: 'downloading', line }] });
  }

  test('a task shows all of its life', async () => {
    const go = gate();
    const id = await queue();
    expect(await view(id)).toMatchObject({ id, type: 'pull', status: 'queued', progress: null, started_at: null });
    await work(async (job) => {
      await job.updateProgress({ ...resolving, steps: [resolving] });
      await go.opened;
      return resultOf(job);
    });
    const running = await until(id, (task) => task.progress !== null);
    expect(running).toMatchObject({
      status: 'running',
      progress: 'resolving manifest...',
      detail: { phase: 'resolving' },
    });
    go.open();
    const ended = await until(id, (task) => task.completed_at !== null);
    expect(ended).toMatchObject({ status: 'completed', result: { image: running.name }, error: null });
  });

  test('are listed in pages, those under way first, each once', async () => {
    await work(async (job) => {
      if (job.data.requested === 'bad:1') throw jobError({ code: 'no_space', message: 'full', retryable: false });
      return resultOf(job);
    });
    const good = await queuePull(api.send, { ref: 'good:1' });
    const bad = await queuePull(api.send, { ref: 'bad:1' });
    for (const id of [good, bad]) await until(id, (task) => task.completed_at !== null);
    await worker?.close();
    worker = undefined;
    const waiting = [await queue(), await queue()];
    const seen: TaskView[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page = TaskList.parse((await api.send('GET', `/tasks?limit=1${cursor && `&cursor=${cursor}`}`)).body);
      expect(page.tasks).toHaveLength(1);
      seen.push(...page.tasks);
      cursor = page.next;
    }
    const ids = seen.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(new Set(ids.slice(0, 2))).toEqual(new Set(waiting));
    expect(ids.indexOf(bad)).toBeGreaterThan(1);
    const listed = async (status: string) =>
      TaskList.parse((await api.send('GET', `/tasks?status=${status}`)).body).tasks.map(({ id }) => id);
    expect(await listed('failed')).toContain(bad);
    expect(await listed('completed')).toContain(good);
    expect(await listed('completed')).not.toContain(bad);
    expect((await api.send('GET', '/tasks?status=done')).status).toBe(400);
    for (const id of waiting) await api.send('DELETE', `/tasks/${id}`);
  });

  test('HEAD of the events answers at once, while the task goes on', async () => {
    const answer = await api.send('HEAD', `/tasks/${await queue()}/events`);
    expect(answer).toMatchObject({ status: 200, text: '' });
    expect(answer.headers['content-type']).toBe('text/event-stream; charset=utf-8');
  });

  test('events tell every change, and end with the task', async () => {
    const go = gate();
    await work(async (job) => {
      await report(job, 'downloading layers (1 MB / 2 MB)...');
      await go.opened;
      return resultOf(job);
    });
    const id = await queue();
    const events = api.send('GET', `/tasks/${id}/events`);
    await until(id, (task) => task.progress !== null);
    go.open();
    const answer = await events;
    expect(answer.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    const states = [...answer.text.matchAll(/^event: task\ndata: (.*)\n\n/gm)].map(([, data = '']) =>
      TaskView.parse(JSON.parse(data)),
    );
    expect(states.at(-1)).toMatchObject({ id, status: 'completed' });
    expect(states.filter(({ status }) => status === 'completed')).toHaveLength(1);
    // A client that comes after the end gets it at once.
    const late = await api.send('GET', `/tasks/${id}/events`);
    expect(late.text.match(/^event: task$/gm)).toHaveLength(1);
    expect((await api.send('GET', '/tasks/tsk_aaaaaaaaaaaa/events')).status).toBe(404);
  });

  test('a failure is told with its code', async () => {
    await work(async () => {
      throw jobError({ code: 'manifest_unknown', message: 'no such image', retryable: false });
    });
    const id = await queue();
    const task = await until(id, ({ status }) => status === 'failed');
    expect(task.error).toEqual({ code: 'manifest_unknown', message: 'no such image' });
  });

  test('a long poll answers when the task ends, long before its time is over', async () => {
    const id = await queue();
    const answer = view(id, '?wait=60');
    await work(async (job) => resultOf(job));
    await until(id, ({ status }) => status === 'completed');
    expect(['running', 'completed']).toContain((await answer).status);
  });

  test('a long poll answers at each change of the line, and not before', async () => {
    const first = gate();
    const second = gate();
    const id = await queue();
    await work(async (job) => {
      await report(job, 'one');
      await first.opened;
      await report(job, 'two');
      await second.opened;
      return resultOf(job);
    });
    await until(id, ({ progress }) => progress === 'one');
    const waiting = view(id, '?wait=30');
    // Nothing changes: when its time is over, a poll answers with the current state.
    expect(await view(id, '?wait=0.05')).toMatchObject({ progress: 'one' });
    first.open();
    expect(await waiting).toMatchObject({ status: 'running', progress: 'two' });
    second.open();
    expect(await view(id, '?wait=30')).toMatchObject({ status: 'completed' });
  });

  test('a client that has not seen the line gets it at once', async () => {
    const go = gate();
    const id = await queue();
    await work(async (job) => {
      await report(job, 'now');
      await go.opened;
      return resultOf(job);
    });
    await until(id, ({ progress }) => progress === 'now');
    expect(await view(id, '?wait=60&seen=before')).toMatchObject({ progress: 'now' });
    expect(await view(id, '?wait=60&seen=')).toMatchObject({ progress: 'now' });
    go.open();
    await until(id, ({ status }) => status === 'completed');
    expect(await view(id, '?wait=60')).toMatchObject({ status: 'completed' });
    expect(await view(id, '?wait=60&seen=now')).toMatchObject({ status: 'completed' });
  });

  test('many may wait for one task', async () => {
    const id = await queue();
    const answers = Promise.all(Array.from({ length: 200 }, () => view(id, '?wait=60')));
    await work(async (job) => resultOf(job));
    expect((await answers).map((task) => task.id)).toEqual(Array.from({ length: 200 }, () => id));
  });

  test('a client that leaves is forgotten', async () => {
    const id = await queue();
    const leave = new AbortController();
    const answer = api.send('GET', `/tasks/${id}?wait=60`, { signal: leave.signal });
    leave.abort();
    await expect(answer).rejects.toThrow(/abort/i);
    expect(await view(id)).toMatchObject({ status: 'queued' });
  });

  test('a waiting task is cancelled at once, and who watches it is told', async () => {
    const id = await queue();
    const watched = until(id, ({ status }) => status === 'cancelled');
    const answer = await api.send('DELETE', `/tasks/${id}`);
    expect(answer.status).toBe(202);
    expect(TaskView.parse(answer.body)).toMatchObject({ id, status: 'cancelled' });
    expect(await watched).toMatchObject({ error: { code: 'cancelled' } });
    const again = await api.send('DELETE', `/tasks/${id}`);
    expect(again.status).toBe(409);
    expect(errorBody.parse(again.body)).toMatchObject({ code: 'task_ended', error: `task ${id} is cancelled already` });
  });

  test('who watches a waiting task is told by its cancellation itself, as no event comes', async () => {
    const secretKey = createSecretKey(randomBytes(32));
    const log = pino({ level: 'silent' });
    const tasks = new TaskService({ redisUrl: redis.url, secretKey, limits: { ofOwner: 9, inAll: 9 }, log });
    await tasks.opened(5000);
    const told = new Set<string | null>();
    tasks.onChange((changed) => told.add(changed));
    try {
      const id = await queue();
      await eventually(() => told.delete(id));
      await tasks.cancel(id);
      expect(told).toContain(id);
    } finally {
      await tasks.close();
    }
  });

  test('a running task is told to stop', async () => {
    const started = gate();
    const id = await queue();
    await work(
      (_job, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () =>
            reject(jobError({ code: 'cancelled', message: 'cancelled', retryable: false })),
          );
          started.open();
        }),
    );
    await started.opened;
    const relay = createTaskRelay(connection);
    await relay.waitUntilReady();
    if (worker === undefined) throw new Error('no worker');
    const subscription = await subscribeCancellations(relay, createTaskQueue(connection), worker.running);
    expect((await api.send('DELETE', `/tasks/${id}`)).status).toBe(202);
    expect(await until(id, ({ status }) => status === 'cancelled')).toMatchObject({ error: { code: 'cancelled' } });
    await subscription.close();
    await relay.close();
  });

  test('a completed task cannot be cancelled', async () => {
    const id = await queue();
    await work(async (job) => resultOf(job));
    await until(id, ({ status }) => status === 'completed');
    expect(await api.send('DELETE', `/tasks/${id}`)).toMatchObject({ status: 409, body: { code: 'task_ended' } });
  });

  test('a task of another owner is none', async () => {
    const { newsFor } = await import('../routes/tasks.ts');
    const id = await queue();
    const record = { owner: 'somebody', view: await view(id) };
    // Answered with 404 at once: a wait would reveal that there is something to wait for.
    expect(newsFor({ owner: 'local', admin: false }, undefined)(record)).toBe(true);
    expect(newsFor({ owner: 'local', admin: true }, undefined)(record)).toBe(false);
  });

  test('that a task without a line has begun is news, to who has seen that it has none', async () => {
    const { newsFor } = await import('../routes/tasks.ts');
    const waiting = { owner: 'local', view: await view(await queue()) };
    const isNews = newsFor({ owner: 'local', admin: false }, '');
    expect([isNews(waiting), isNews(waiting)]).toEqual([false, false]);
    expect(isNews({ ...waiting, view: { ...waiting.view, status: 'running' } })).toBe(true);
  });

  test.each(['tsk_aaaaaaaaaaaa', 'meta', 'events', '..%2F..', 'tsk_*', 'tsk_AAAAAAAAAAAA', '%00', ':'])(
    'there is no task %s',
    async (id) => {
      for (const query of ['', '?wait=60']) {
        const answer = await api.send('GET', `/tasks/${id}${query}`);
        expect(answer.status).toBe(404);
      }
      expect((await api.send('DELETE', `/tasks/${id}`)).status).toBe(404);
    },
  );

  test.each(['wait=61', 'wait=-1', 'wait=x', 'wait=', 'wait=1&wait=2', 'seen=a&seen=b', 'until=now', 'wait=1e1'])(
    'refuses ?%s',
    async (query) => {
      const answer = await api.send('GET', `/tasks/tsk_aaaaaaaaaaaa?${query}`);
      expect(answer.status).toBe(400);
      expect(errorBody.parse(answer.body).code).toBe('invalid_request');
    },
  );
});
