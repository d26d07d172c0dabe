import { execFileSync, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectRedis, createTaskQueue, WorkerMetrics } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import * as z from 'zod';
import { queuePull, startTestStack, type TestStack } from './support/api.ts';
import { gate, resultOf, startWorker } from './support/worker.ts';

let api: TestStack;
beforeAll(async () => {
  api = await startTestStack();
});
afterAll(() => api.close());

/** The lines of the metrics whose names start so. */
async function scrape(...names: string[]): Promise<string[]> {
  const { text } = await api.send('GET', '/metrics');
  return text.split('\n').filter((line) => names.some((name) => line.startsWith(name)));
}

test('the queue, its workers, the disk and the answers are told', async () => {
  const begun = gate();
  const held = gate();
  const { worker, close } = await startWorker(api.redis.url, async (job) => {
    begun.open();
    await held.opened;
    return resultOf(job);
  });
  worker.concurrency = 1;
  await queuePull(api.send, { ref: 'alpine:1' });
  await begun.opened;
  await queuePull(api.send, { ref: 'alpine:2' });
  await queuePull(api.send, { ref: 'alpine:3' });

  const lines = await scrape('bhatti_');
  expect(lines).toEqual(
    expect.arrayContaining([
      'bhatti_redis_up 1',
      'bhatti_queue_tasks{state="waiting"} 2',
      'bhatti_queue_tasks{state="active"} 1',
      'bhatti_queue_paused 0',
      'bhatti_workers 1',
      'bhatti_http_requests_total{method="POST",route="/images/pull",status="202"} 3',
    ]),
  );
  const numberOf = (name: string) => Number(lines.find((line) => line.startsWith(`${name} `))?.split(' ')[1]);
  expect(numberOf('bhatti_queue_oldest_waiting_seconds')).toBeGreaterThan(0);
  expect(numberOf('bhatti_disk_free_bytes')).toBeLessThanOrEqual(numberOf('bhatti_disk_size_bytes'));
  held.open();
  await close();
});

test('what workers counted is told in the text format, labels and buckets in order', async () => {
  const connection = connectRedis(api.redis.url, { use: 'worker' });
  const metrics = new WorkerMetrics(connection);
  metrics.count('tasks', { type: 'pull', result: 'failed', reason: 'no_space' });
  metrics.observe('phase', { phase: 'downloading' }, 0.2);
  await metrics.idle();
  connection.disconnect();
  const lines = await scrape('bhatti_tasks_total', 'bhatti_phase_duration_seconds', '# TYPE bhatti_phase');
  expect(lines).toEqual(
    expect.arrayContaining([
      'bhatti_tasks_total{type="pull",result="failed",reason="no_space"} 1',
      '# TYPE bhatti_phase_duration_seconds histogram',
      'bhatti_phase_duration_seconds_bucket{phase="downloading",le="0.1"} 0',
      'bhatti_phase_duration_seconds_bucket{phase="downloading",le="0.25"} 1',
      'bhatti_phase_duration_seconds_bucket{phase="downloading",le="+Inf"} 1',
      'bhatti_phase_duration_seconds_sum{phase="downloading"} 0.2',
      'bhatti_phase_duration_seconds_count{phase="downloading"} 1',
    ]),
  );
});

test('a paused queue is told', async () => {
  const connection = connectRedis(api.redis.url, { use: 'worker' });
  const queue = createTaskQueue(connection);
  await queue.pause();
  expect(await scrape('bhatti_queue_paused')).toEqual(['bhatti_queue_paused 1']);
  await queue.resume();
  await queue.close();
  connection.disconnect();
});

test('paths that clients make up are no labels', async () => {
  for (const path of ['/made/up', '/images/made-up', '/tasks/made-up']) await api.send('GET', path);
  const text = (await scrape('bhatti_http')).join('\n');
  expect(text).toContain('route="none"');
  expect(text).toContain('route="/images/:name"');
  expect(text).not.toContain('made');
});

test('needs the token over TCP', async () => {
  expect((await api.sendTcp('GET', '/metrics')).status).toBe(401);
  const answer = await api.sendTcp('GET', '/metrics', { headers: { authorization: `Bearer ${api.token}` } });
  expect(answer.status).toBe(200);
  expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
});

test('every metric that the dashboard and the alert rules name is there', async () => {
  const { text } = await api.send('GET', '/metrics');
  const there = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  const named = (await expressions()).flatMap((expression) => [
    ...expression.matchAll(/\b(?:bhatti|process|nodejs)_\w+/g),
  ]);
  const missing = named.map(([name]) => name.replace(/_(?:bucket|sum|count)$/, '')).filter((name) => !there.has(name));
  expect(missing).toEqual([]);
  expect(named.length).toBeGreaterThan(30);
});

const hasPromtool = spawnSync('promtool', ['--version']).status === 0;
if (!hasPromtool) process.stderr.write('skipped: promtool on deploy/prometheus, because there is no promtool\n');
(hasPromtool ? test : test.skip)('Prometheus takes the alert rules, the configuration and the metrics', async () => {
  const folder = fileURLToPath(new URL('../../../deploy/prometheus/', import.meta.url));
  expect(execFileSync('promtool', ['check', 'rules', `${folder}alerts.yml`], { encoding: 'utf8' })).toContain(
    'SUCCESS',
  );
  execFileSync('promtool', ['check', 'config', '--syntax-only', `${folder}prometheus.yml`]);
  const { text } = await api.send('GET', '/metrics');
  const { stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  // The names of prom-client's own gauges are older than the rule about them.
  const complaints = `${stdout}${stderr}`.split('\n').filter((line) => line !== '' && !/^nodejs_\w+_total /.test(line));
  expect(complaints).toEqual([]);
});

async function expressions(): Promise<string[]> {
  const file = (path: string) => readFile(new URL(`../../../deploy/${path}`, import.meta.url), 'utf8');
  const dashboard = z
    .object({ panels: z.array(z.object({ targets: z.array(z.object({ expr: z.string() })) })) })
    .parse(JSON.parse(await file('grafana/bhatti-images.json')));
  const alerts = z
    .object({ groups: z.array(z.object({ rules: z.array(z.object({ expr: z.string() })) })) })
    .parse(parse(await file('prometheus/alerts.yml')));
  return [
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    ...alerts.groups.flatMap(({ rules }) => rules.map(({ expr }) => expr)),
  ];
}

test('without Redis the rest is still told', async () => {
  await api.redis.kill();
  const lines = await scrape('bhatti_redis_up', 'bhatti_queue_tasks', 'bhatti_workers', 'bhatti_disk_free_bytes');
  expect(lines).toContain('bhatti_redis_up 0');
  expect(lines.filter((line) => /^bhatti_(queue|workers)/.test(line))).toEqual([]);
  expect(lines.some((line) => line.startsWith('bhatti_disk_free_bytes'))).toBe(true);
  await api.redis.start();
  while (!(await scrape('bhatti_redis_up')).includes('bhatti_redis_up 1')) await sleep(20);
});
