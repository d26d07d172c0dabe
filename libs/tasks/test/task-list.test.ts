import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import {
  createTaskId,
  createTaskQueue,
  enqueuePull,
  jobError,
  type ListTasksOptions,
  listTasks,
  type RedisClient,
  type TaskPosition,
  type TaskQueue,
  type TaskStatus,
  takeTurn,
} from '../index.ts';
import { queueKey } from '../queue.ts';
import { data, QueueFixture, result } from './support/fixture.ts';

describe('the list of tasks', () => {
  let fixture: QueueFixture;
  let queue: TaskQueue;
  let redis: RedisClient;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterEach(() => fixture.reset());
  afterAll(() => fixture.stop());

  function open(): void {
    queue = fixture.queue();
    redis = fixture.connect('request');
  }

  async function enqueue(owner: string, name: string, turn = true): Promise<string> {
    const priority = turn ? await takeTurn(redis, owner) : undefined;
    const options = priority === undefined ? {} : { priority };
    return (await enqueuePull(queue, { ...data, owner, name }, { id: createTaskId(), ...options })).id;
  }

  /** Through all pages. */
  async function pages(options: ListTasksOptions): Promise<{ readonly id: string; readonly status: TaskStatus }[]> {
    const seen: { id: string; status: TaskStatus }[] = [];
    for (let after: TaskPosition | undefined | null = undefined; after !== null; ) {
      const page = await listTasks(queue, { ...options, after });
      expect(page.tasks.length).toBeLessThanOrEqual(options.limit);
      seen.push(...page.tasks.map(({ view }) => ({ id: view.id, status: view.status })));
      after = page.next;
    }
    return seen;
  }

  test('has tasks in every state that a queue can have them in, by status and owner, each once', async () => {
    open();
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const ids = {
      completed: await enqueue('ann', 'completed'),
      failed: await enqueue('ann', 'failed'),
      retried: await enqueue('ann', 'retried'),
      again: await enqueue('ann', 'again'),
      running: await enqueue('ann', 'running'),
    };
    // Another's, which has an owner's name in it.
    const othersEnded = await enqueue('bob', 'ann');
    const worker = fixture.worker(
      async (job) => {
        if (job.data.name === 'failed') throw jobError({ code: 'no_space', message: 'full', retryable: false });
        if (job.data.name === 'again') throw jobError({ code: 'no_space', message: 'full', retryable: false });
        if (job.data.name === 'retried') throw jobError({ code: 'timeout', message: 'late', retryable: true });
        if (job.data.name === 'running') await ended;
        return result;
      },
      { concurrency: 1 },
    );
    const stateOf = async (id: string) => (await queue.getJob(id))?.getState();
    await eventually(async () => (await stateOf(ids.running)) === 'active');
    // It had its turn before the second of the other owner.
    expect(await stateOf(othersEnded)).toBe('completed');
    const queued = {
      turn: await enqueue('ann', 'turn'),
      plain: await enqueue('ann', 'plain', false),
      stopped: await enqueue('ann', 'stopped'),
      others: await enqueue('bob', 'others'),
    };
    // As an operator does: that puts it on the list of those without a turn, its progress and start still known.
    await (await queue.getJob(ids.again))?.retry();
    const stopped = await queue.getJob(queued.stopped);
    await stopped?.updateData({ ...stopped.data, cancelRequested: true });
    await queue.pause();

    expect(await Promise.all([ids.retried, queued.turn, queued.plain].map(stateOf))).toEqual([
      'delayed',
      'prioritized',
      'waiting',
    ]);
    const expected: Record<string, TaskStatus> = {
      [ids.completed]: 'completed',
      [ids.failed]: 'failed',
      [ids.retried]: 'queued',
      [ids.again]: 'queued',
      [ids.running]: 'running',
      [queued.turn]: 'queued',
      [queued.plain]: 'queued',
      [queued.stopped]: 'cancelled',
    };
    for (const limit of [1, 3, 100]) {
      const seen = await pages({ limit, owner: 'ann' });
      expect(Object.fromEntries(seen.map(({ id, status }) => [id, status]))).toEqual(expected);
      expect(seen).toHaveLength(Object.keys(expected).length);
      const everybodys = await pages({ limit });
      expect(everybodys.map(({ id }) => id)).toEqual(
        expect.arrayContaining([...Object.keys(expected), queued.others, othersEnded]),
      );
      expect(everybodys).toHaveLength(seen.length + 2);
      for (const status of ['queued', 'running', 'completed', 'failed', 'cancelled'] as const) {
        const some = await pages({ limit, owner: 'ann', status });
        const wanted = Object.keys(expected).filter((id) => expected[id] === status);
        expect(new Set(some.map(({ id }) => id))).toEqual(new Set(wanted));
      }
    }
    // The latest first, and the ended behind those under way.
    const order = (await pages({ limit: 2, owner: 'ann' })).map(({ id }) => id);
    expect(order[0]).toBe(queued.stopped);
    expect(order.slice(-2)).toEqual([ids.failed, ids.completed]);

    end();
    await eventually(async () => (await stateOf(ids.running)) === 'completed');
    await worker.close();
    expect((await pages({ limit: 5, owner: 'ann', status: 'completed' })).map(({ id }) => id)).toEqual([
      ids.running,
      ids.completed,
    ]);
  });

  test('is not stopped by jobs that others have put on the queue, or changed there', async () => {
    open();
    const id = await enqueue('ann', 'ours');
    const times = ['timestamp', 'processedOn', 'finishedOn'].flatMap((field) =>
      ['noon', '9e15'].map((text) => [field, text] as const),
    );
    const texts = [
      '{"owner":"ann"}',
      '{"owner":5}',
      '{"owner":["ann"]}',
      '{"owner":"ann"',
      '{}',
      'null',
      '"ann"',
      '5',
      '[]',
    ];
    // Each of a name of its own, or it would be one task only.
    for (const [at, [field, text]] of [...texts.map((text) => ['data', text] as const), ...times].entries()) {
      await redis.hset(queueKey(await enqueue('ann', `theirs-${at}`)), field, text);
    }
    for (const owner of ['ann', undefined]) {
      for (const status of ['queued', 'cancelled', undefined] as const) {
        const expected = status === 'cancelled' ? [] : [{ id, status: 'queued' }];
        expect(await pages({ limit: 2, owner, status })).toEqual(expected);
      }
    }
  });

  test('has all others in their order where a job has no time', async () => {
    open();
    const whole: string[] = [];
    for (let at = 0; at < 60; at++) {
      const id = await enqueue('ann', `n-${at}`);
      const isSpoilt = at % 3 === 1;
      await redis.hset(queueKey(id), 'timestamp', isSpoilt ? 'noon' : 1_000_000 + at);
      if (!isSpoilt) whole.unshift(id);
    }
    for (const status of ['queued', undefined] as const) {
      expect((await pages({ limit: 7, status })).map(({ id }) => id)).toEqual(whole);
    }
  });

  test('has each once, where many were created or have ended in the same millisecond', async () => {
    open();
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const ended = await Promise.all(names.map((name) => enqueue('ann', name)));
    const worker = fixture.worker(async (job) => {
      if (job.data.name > 'c') throw jobError({ code: 'no_space', message: 'full', retryable: false });
      return result;
    });
    const endedIn = (list: string) => redis.zrange(queueKey(list), 0, '-1');
    await eventually(async () => (await endedIn('completed')).length + (await endedIn('failed')).length === 6);
    await worker.close();
    for (const list of ['completed', 'failed']) {
      for (const id of await endedIn(list)) await redis.zadd(queueKey(list), 1_000_000, id);
    }
    const waiting = await Promise.all(names.map((name) => enqueue('ann', name)));
    for (const id of waiting) await redis.hset(queueKey(id), 'timestamp', 1_000_000);
    const expected = [...waiting.sort().reverse(), ...ended.sort().reverse()];
    for (const limit of [1, 2, 5, 100]) {
      for (const owner of ['ann', undefined]) {
        expect((await pages({ limit, owner })).map(({ id }) => id)).toEqual(expected);
      }
    }
  });

  test('goes on beyond what Redis looks at in one call, though more tasks end meanwhile', async () => {
    redis = fixture.connect('worker');
    queue = createTaskQueue(redis);
    fixture.onEnd(() => queue.close());
    const ids = Array.from({ length: 1200 }, () => createTaskId());
    const jobs = ids.map((id) => ({ name: 'pull' as const, data: { ...data, name: id }, opts: { jobId: id } }));
    await queue.addBulk(jobs.map((job) => ({ ...job, data: { ...job.data, cancelRequested: true } })));
    const listed = async (options: Omit<ListTasksOptions, 'limit'>) =>
      (await pages({ ...options, limit: 400 })).map(({ id }) => id);
    expect(new Set(await listed({ status: 'cancelled' }))).toEqual(new Set(ids));

    const end = async (some: readonly string[], from: number) => {
      const commands = redis.multi();
      for (const [at, id] of some.entries()) {
        const job = { finishedOn: from + at, returnvalue: JSON.stringify(result) };
        commands
          .lrem(queueKey('wait'), 1, id)
          .zadd(queueKey('completed'), from + at, id)
          .hset(queueKey(id), job);
      }
      await commands.exec();
    };
    const [later = '', ...sooner] = ids;
    await end(sooner, 1_000_000);
    const read = redis.zrevrangebyscore.bind(redis);
    jest.spyOn(redis, 'zrevrangebyscore').mockImplementationOnce(async (...range: Parameters<typeof read>) => {
      const piece = await read(...range);
      await end([later], 2_000_000);
      return piece;
    });
    const { tasks } = await listTasks(queue, { limit: 2000, status: 'completed' });
    expect(tasks.map(({ view }) => view.id)).toEqual(sooner.reverse());
    for (const owner of ['local', undefined]) expect(await listed({ owner })).toEqual([later, ...sooner]);
  });

  test('of one owner costs little beside thousands of others, and looks through no list of them', async () => {
    open();
    const template = { ...data, owner: 'many' };
    const bulk = Array.from({ length: 3000 }, (_, i) => ({
      name: 'pull' as const,
      data: { ...template, name: `n-${i}` },
      // Half of them without a turn: those are on the list that would have to be looked through.
      opts: { jobId: createTaskId(), ...(i % 2 === 0 ? { priority: 1 } : {}) },
    }));
    // A request gives up after three seconds, which so many may take.
    await fixture.queue('worker').addBulk(bulk);
    const own = await enqueue('ann', 'own');
    await redis.call('CONFIG', 'RESETSTAT');
    const calls = async (command: string) => {
      const stats = await redis.info('commandstats');
      return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
    };
    const page = await listTasks(queue, { limit: 10, owner: 'ann' });
    expect(page).toMatchObject({ tasks: [{ owner: 'ann', view: { id: own, status: 'queued' } }], next: null });
    // And what is shown is read.
    expect(await calls('hmget')).toBe(3001 + 1);
    const admins = await listTasks(queue, { limit: 10 });
    expect(admins.tasks).toHaveLength(10);
    // Where they come from was asked once, and does not change; in pieces of 250.
    expect(await calls('hmget')).toBe(3001 + 1 + 11);
    expect(await calls('evalsha')).toBeLessThan(30);
    expect(await calls('hgetall')).toBe(0);
    // One for each task that is read, in the list of those that run; none in that of those that wait.
    expect(await calls('lpos')).toBe(1 + 11);
  });
});
