import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { admitTask, createTaskId, enqueuePull, KEY_PREFIX, type RedisClient, type TaskQueue } from '../index.ts';
import { queueKey } from '../queue.ts';
import { data, QueueFixture, result } from './support/fixture.ts';

describe('the limits of tasks', () => {
  const WEEK_SECONDS = 7 * 24 * 3600;
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

  const admit = (owner: string, limits: { ofOwner: number; inAll: number }, id = createTaskId()) =>
    admitTask(redis, { id, owner }, limits);

  async function enqueue(owner: string, limits: { ofOwner: number; inAll: number }): Promise<string> {
    const id = createTaskId();
    await admit(owner, limits, id);
    await enqueuePull(queue, { ...data, owner, name: id }, { id, priority: 1 });
    return id;
  }

  test.each(['prioritized', 'delayed', 'wait', 'active'])('a task that is %s counts in all', async (state) => {
    open();
    const limits = { ofOwner: 10, inAll: 1 };
    // As BullMQ keeps it: those that are ordered by a score, and lists.
    const key = queueKey(state);
    if (state === 'prioritized' || state === 'delayed') await redis.zadd(key, 1, 'tsk_other');
    else await redis.lpush(key, 'tsk_other');
    await expect(admit('ann', limits)).rejects.toMatchObject({
      code: 'queue_full',
      retryable: true,
      message: expect.stringContaining('with 1 task in progress'),
    });
    await redis.del(key);
    await admit('ann', limits);
  });

  test('each owner has as many as the limit says, and who is refused is not counted', async () => {
    open();
    const limits = { ofOwner: 2, inAll: 10 };
    for (const owner of ['ann', 'ann', 'bob']) await enqueue(owner, limits);
    for (const _again of [1, 2]) {
      await expect(admit('ann', limits)).rejects.toMatchObject({
        code: 'too_many_tasks',
        retryable: true,
        message: expect.stringContaining('you have 2 tasks in progress'),
      });
    }
    await admit('bob', limits);
    expect(await redis.scard(`${KEY_PREFIX}:owner-tasks:ann`)).toBe(2);
  });

  test('a task that has ended, and one that never came to the queue, make room; one that runs does not', async () => {
    open();
    const limits = { ofOwner: 3, inAll: 10 };
    let end = () => {};
    const goesOn = new Promise<void>((resolve) => {
      end = resolve;
    });
    const names: string[] = [];
    const worker = fixture.worker(
      async (job) => {
        names.push(job.data.name);
        if (names.length === 2) await goesOn;
        return result;
      },
      { concurrency: 1 },
    );
    const ended = new Promise((resolve) => worker.once('completed', resolve));
    await enqueue('ann', limits);
    await ended;
    const active = new Promise((resolve) => worker.once('active', resolve));
    const running = await enqueue('ann', limits);
    await active;
    await admit('ann', limits, 'tsk_never');
    const next = await enqueue('ann', limits);
    expect((await redis.smembers(`${KEY_PREFIX}:owner-tasks:ann`)).sort()).toEqual([running, next].sort());
    end();
  });

  test('the list of an owner’s tasks goes with the tasks', async () => {
    open();
    await admit('ann', { ofOwner: 1, inAll: 1 });
    const seconds = await redis.ttl(`${KEY_PREFIX}:owner-tasks:ann`);
    expect(seconds).toBeGreaterThan(WEEK_SECONDS - 600);
    expect(seconds).toBeLessThanOrEqual(WEEK_SECONDS);
  });
});
