import { afterAll, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import type { RedisClient } from '../index.ts';
import { type MetricSample, readWorkerMetrics, WorkerMetrics, workerMetrics } from '../metrics.ts';
import { connectRedis } from '../redis/redis-connection.ts';

let server: TestRedis;
let redis: RedisClient;
beforeAll(async () => {
  server = await startRedis();
  redis = connectRedis(server.url, { use: 'worker' });
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

async function samplesOf(name: string): Promise<readonly MetricSample[]> {
  return (await readWorkerMetrics(redis)).find((family) => family.name === name)?.samples ?? [];
}

test('every metric is there before anything is counted, without samples', async () => {
  const families = await readWorkerMetrics(redis);
  expect(families.map(({ name }) => name)).toEqual(Object.values(workerMetrics).map(({ name }) => name));
  expect(families.every(({ samples }) => samples.length === 0)).toBe(true);
});

test('counters of several workers add up, a sample for each set of labels', async () => {
  const workers = [new WorkerMetrics(redis), new WorkerMetrics(redis)];
  for (const worker of workers) {
    worker.count('tasks', { result: 'completed', reason: 'none' });
    worker.count('tasks', { result: 'failed', reason: 'no_space' }, 2);
    worker.count('downloaded', {}, 1_000_000);
    worker.count('downloaded', {}, 0);
    await worker.idle();
  }
  expect(await samplesOf('bhatti_tasks_total')).toEqual(
    expect.arrayContaining([
      { name: 'bhatti_tasks_total', labels: { result: 'completed', reason: 'none' }, value: 2 },
      { name: 'bhatti_tasks_total', labels: { result: 'failed', reason: 'no_space' }, value: 4 },
    ]),
  );
  expect(await samplesOf('bhatti_downloaded_bytes_total')).toEqual([
    { name: 'bhatti_downloaded_bytes_total', labels: {}, value: 2_000_000 },
  ]);
});

test('counters never go back, and stay readable whatever the labels, and whatever else somebody has put there', async () => {
  const metrics = new WorkerMetrics(redis);
  metrics.count('downloaded', {}, 5);
  metrics.count('downloaded', {}, -3);
  metrics.count('layers', { source: 'cache' }, 0);
  metrics.count('retries', { reason: 'a "quoted",\nlong}' });
  await metrics.idle();
  await redis.hset('{bhatti}:metrics', { 'bhatti_layers_total{source="x"}': 'many', 'of mine': 1 });
  expect((await samplesOf('bhatti_downloaded_bytes_total')).map(({ value }) => value)).toEqual([5]);
  expect(await samplesOf('bhatti_layers_total')).toEqual([]);
  expect((await samplesOf('bhatti_task_retries_total')).map(({ labels }) => labels)).toEqual([
    { reason: 'a__quoted___long_' },
  ]);
});

test('time that ran backwards is none', async () => {
  const metrics = new WorkerMetrics(redis);
  metrics.observe('waiting', {}, -5);
  await metrics.idle();
  const samples = await samplesOf('bhatti_task_wait_seconds');
  expect(samples.find((one) => one.name.endsWith('_sum'))?.value).toBe(0);
  expect(samples.find((one) => one.labels.le === '0.05')?.value).toBe(1);
});

test('is idle once Redis has everything', async () => {
  const metrics = new WorkerMetrics(redis);
  let answer = () => {};
  jest.spyOn(redis, 'hincrby').mockImplementationOnce(
    () =>
      new Promise((resolve) => {
        answer = () => resolve(1);
      }),
  );
  metrics.count('takeovers');
  let isIdle = false;
  const idle = metrics.idle().then(() => {
    isIdle = true;
  });
  await redis.ping();
  expect(isIdle).toBe(false);
  answer();
  await idle;
});

test('a histogram is cumulative, and counts what is beyond its last bound', async () => {
  const metrics = new WorkerMetrics(redis);
  for (const seconds of [0.01, 0.3, 0.5, 9999]) metrics.observe('phase', { phase: 'resolving' }, seconds);
  metrics.observe('phase', { phase: 'flattening' }, 1);
  await metrics.idle();
  const samples = (await samplesOf('bhatti_phase_duration_seconds')).filter((one) => one.labels.phase === 'resolving');
  const bucket = (le: string) => samples.find((one) => one.labels.le === le)?.value;
  expect([bucket('0.05'), bucket('0.25'), bucket('0.5'), bucket('1800'), bucket('+Inf')]).toEqual([1, 1, 3, 3, 4]);
  expect(samples.find((one) => one.name.endsWith('_sum'))?.value).toBeCloseTo(9999.81);
  expect(samples.find((one) => one.name.endsWith('_count'))?.value).toBe(4);
});

test('only work that succeeds is timed', async () => {
  const metrics = new WorkerMetrics(redis);
  expect(await metrics.time('build', {}, async () => 'made')).toBe('made');
  await expect(metrics.time('build', {}, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await metrics.idle();
  expect((await samplesOf('bhatti_rootfs_build_seconds')).find((one) => one.name.endsWith('_count'))?.value).toBe(1);
});

test('counting neither waits nor fails while Redis is away', async () => {
  const away = connectRedis('/nowhere/redis.sock', { use: 'worker' });
  const metrics = new WorkerMetrics(away);
  metrics.count('tasks', { result: 'completed' });
  metrics.observe('build', {}, 1);
  away.disconnect();
  await metrics.idle();
});
