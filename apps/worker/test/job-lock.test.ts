import { setTimeout as sleep } from 'node:timers/promises';
import {
  connectRedis,
  createTaskQueue,
  enqueuePull,
  type PullResult,
  QUEUE_NAME,
  queueKey,
  type RedisClient,
  type TaskJobData,
  type TaskJobName,
  type TaskQueue,
  workerOptions,
} from '@bhatti/tasks';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { Worker } from 'bullmq';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { JobLock, renewalInterval } from '../job/job-lock.ts';

/** Ms: the machine may stand still for half of it. A renewal comes after a fifth of it. */
const LOCK = 4000;

const result: PullResult = { image: 'a', digest: `sha256:${'a'.repeat(64)}`, sizeBytes: 1, steps: [], warnings: [] };
let redis: TestRedis;
let connection: RedisClient;
let queue: TaskQueue;
beforeAll(async () => {
  redis = await startRedis();
  connection = connectRedis(redis.url, { use: 'worker' });
  queue = createTaskQueue(connection);
});
afterAll(async () => {
  await queue.close();
  connection.disconnect();
  await redis.stop();
});

const realNow = Date.now;

test('a clock that is set back while a task runs does not have it begun a second time', async () => {
  const lock = new JobLock(connection, LOCK);
  let begun = 0;
  const lost: string[] = [];
  const options = { ...workerOptions({ connection, concurrency: 1 }), lockDuration: LOCK, stalledInterval: 50 };
  const workers = [1, 2].map(
    (number) =>
      new Worker<TaskJobData, PullResult, TaskJobName>(
        QUEUE_NAME,
        async (job, token = '', _signal) => {
          begun += 1;
          const letGo = lock.keep(job, token, () => lost.push(`worker ${number}`));
          Date.now = () => realNow() - 3600_000;
          const lockKey = queueKey(`${job.id}:lock`);
          // What time does to it. Not renewed, it runs out, and the other worker begins the job.
          const left = 0.9 * LOCK;
          await connection.pexpire(lockKey, left);
          await eventually(async () => begun > 1 || (await connection.pttl(lockKey)) > left);
          letGo();
          return result;
        },
        { ...options, name: `worker ${number}`, skipLockRenewal: true },
      ),
  );
  const data = { reference: 'docker.io/library/a:1', requested: 'a:1', name: 'a', owner: 'local' };
  try {
    const { id } = await enqueuePull(queue, data);
    await eventually(async () => (await queue.getJobState(id)) === 'completed');
    expect([begun, lost, (await queue.getJob(id))?.stalledCounter]).toEqual([1, [], 0]);
  } finally {
    Date.now = realNow;
    await Promise.all(workers.map((worker) => worker.close()));
  }
});

test('who renews a lock that went to another is told', async () => {
  const { id } = await enqueuePull(queue, { reference: 'b', requested: 'b', name: 'b', owner: 'local' });
  const job = await queue.getJob(id);
  if (job === undefined) throw new Error('no job');
  await connection.set(`{bhatti}:${QUEUE_NAME}:${id}:lock`, 'another');
  const letGo = await new Promise<() => void>((told) => {
    const stop = new JobLock(connection, LOCK).keep(job, 'mine', () => told(stop));
  });
  letGo();
});

test('what Redis refuses is no loss: the lock is renewed once it takes writes again, and the job is not marked as stalled', async () => {
  const { id } = await enqueuePull(queue, { reference: 'd', requested: 'd', name: 'd', owner: 'local' });
  const job = await queue.getJob(id);
  if (job === undefined) throw new Error('no job');
  const lockKey = queueKey(`${id}:lock`);
  await connection.set(lockKey, 'mine');
  await connection.sadd(queueKey('stalled'), id);
  await connection.config('SET', 'maxmemory', '1');
  const lost: string[] = [];
  const letGo = new JobLock(connection, 250).keep(job, 'mine', () => lost.push(id));
  const refused = async () => Number(/errorstat_OOM:count=(\d+)/.exec(await connection.info('errorstats'))?.[1] ?? 0);
  await eventually(async () => (await refused()) > 1);
  await connection.config('SET', 'maxmemory', '0');
  // It was set without a time to live: a renewal gives it one.
  await eventually(async () => (await connection.pttl(lockKey)) > 0);
  await eventually(async () => (await connection.sismember(queueKey('stalled'), id)) === 0);
  letGo();
  expect(lost).toEqual([]);
});

test('is renewed once at a time, however long Redis takes, and no more once it is let go', async () => {
  const { id } = await enqueuePull(queue, { reference: 'e', requested: 'e', name: 'e', owner: 'local' });
  const job = await queue.getJob(id);
  if (job === undefined) throw new Error('no job');
  const answers: (() => void)[] = [];
  const renewals = jest
    .spyOn(connection, 'evalsha')
    .mockImplementation(() => new Promise((resolve) => answers.push(() => resolve(1))));
  try {
    const letGo = new JobLock(connection, 50).keep(job, 'mine', () => {});
    await eventually(() => answers.length === 1);
    // Several renewals long.
    await sleep(100);
    expect(answers).toHaveLength(1);
    answers[0]?.();
    await eventually(() => answers.length === 2);
    letGo();
    answers[1]?.();
    await sleep(100);
    expect(answers).toHaveLength(2);
  } finally {
    renewals.mockRestore();
  }
});

test('one that ran out while nobody could renew it is taken back, unless the job went to another meanwhile', async () => {
  const lock = new JobLock(connection, LOCK);
  const { id } = await enqueuePull(queue, { reference: 'c', requested: 'c', name: 'c', owner: 'local' });
  const lockKey = queueKey(`${id}:lock`);
  const held: boolean[] = [];
  const lost: string[] = [];
  const worker = new Worker<TaskJobData, PullResult, TaskJobName>(
    QUEUE_NAME,
    async (job, token = '', _signal) => {
      if (job.id !== id) return result;
      await connection.del(lockKey);
      held.push(await lock.isHeld(id, token), (await connection.get(lockKey)) === token);
      // For no longer than any other.
      const lasts = await connection.pttl(lockKey);
      held.push(lasts > 0 && lasts <= LOCK);
      await connection.del(lockKey);
      const letGo = lock.keep(job, token, () => lost.push(id));
      await eventually(async () => (await connection.get(lockKey)) === token);
      letGo();
      // Given to another, who has begun: the job is among the active ones as before.
      await connection.set(lockKey, 'another');
      held.push(await lock.isHeld(id, token));
      await new Promise<void>((told) => {
        const stop = lock.keep(job, token, () => {
          stop();
          told();
        });
      });
      held.push((await connection.get(lockKey)) === token);
      // Given to another, who has not begun: as BullMQ does it, without the lock and among those that wait.
      await connection.del(lockKey);
      await connection.lrem(queueKey('active'), 1, id);
      held.push(await lock.isHeld(id, token));
      await connection.lpush(queueKey('active'), id);
      held.push(await lock.isHeld(id, token));
      return result;
    },
    { ...workerOptions({ connection, concurrency: 2 }), skipLockRenewal: true, stalledInterval: 60_000 },
  );
  try {
    await eventually(async () => (await queue.getJobState(id)) === 'completed');
    expect([held, lost]).toEqual([[true, true, true, false, false, false, true], []]);
  } finally {
    await worker.close();
  }
});

// A look takes jobs that the one before has marked: where no renewal falls between two, a lone worker that wakes loses its job to itself.
test('locks are renewed more often than BullMQ looks for jobs without one', () => {
  const { lockDuration = 0, stalledInterval = 0 } = workerOptions({ connection, concurrency: 1 });
  expect(renewalInterval(lockDuration)).toBeLessThan(stalledInterval);
});
