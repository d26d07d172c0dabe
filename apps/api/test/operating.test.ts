import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectRedis, createTaskQueue, WorkerMetrics } from '@bhatti/tasks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import * as z from 'zod';
import { AdminStatus, Readiness } from '../api-schema.ts';
import { queuePull, startTestStack, type TestStack } from './support/api.ts';
import { gate, resultOf, startWorker } from './support/worker.ts';

/** The built command line. */
const program = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url));

let api: TestStack;
beforeAll(async () => {
  api = await startTestStack();
});
afterAll(() => api.close());

describe('the metrics', () => {
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
    const missing = named
      .map(([name]) => name.replace(/_(?:bucket|sum|count)$/, ''))
      .filter((name) => !there.has(name));
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
    const complaints = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => line !== '' && !/^nodejs_\w+_total /.test(line));
    expect(complaints).toEqual([]);
  });

  test('without Redis the rest is still told', async () => {
    await api.redis.kill();
    const lines = await scrape('bhatti_redis_up', 'bhatti_queue_tasks', 'bhatti_workers', 'bhatti_disk_free_bytes');
    expect(lines).toContain('bhatti_redis_up 0');
    expect(lines.filter((line) => /^bhatti_(queue|workers)/.test(line))).toEqual([]);
    expect(lines.some((line) => line.startsWith('bhatti_disk_free_bytes'))).toBe(true);
    await api.redis.start();
    while (!(await scrape('bhatti_redis_up')).includes('bhatti_redis_up 1')) await sleep(20);
  });
});

describe('for those who run it', () => {
  beforeAll(async () => {
    // Of what the metrics told, nothing is left.
    const connection = connectRedis(api.redis.url, { use: 'request' });
    const queue = createTaskQueue(connection);
    await queue.obliterate({ force: true });
    await queue.close();
    connection.disconnect();
  });

  const ready = async () => {
    const { status, body } = await api.sendTcp('GET', '/ready');
    const readiness = Readiness.parse(body);
    expect(status).toBe(readiness.status === 'ready' ? 200 : 503);
    return readiness;
  };
  /** Polls, as an answer is reused for a moment. */
  const untilReady = async (wanted: (seen: Readiness) => boolean) => {
    for (;;) {
      const seen = await ready();
      if (wanted(seen)) return seen;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };

  test('ready means that a pull would be done: Redis, disk, tools and a worker', async () => {
    const without = await ready();
    expect(without).toMatchObject({
      status: 'not_ready',
      checks: {
        redis: { ok: true },
        data_dir: { ok: true },
        worker: { ok: false, reason: 'no worker is connected: tasks wait until one is started' },
        e2fsprogs: { ok: true, reason: 'not looked at: no worker runs on this host' },
      },
    });

    // A replica is reported as such at once, rather than retried until the time is over.
    const operator = connectRedis(api.redis.url, { use: 'request' });
    await operator.replicaof('127.0.0.1', 1);
    const replica = await untilReady(({ checks }) => !checks.redis.ok);
    await operator.replicaof('NO', 'ONE');
    operator.disconnect();
    expect(replica.checks.redis.reason).toBe('Redis takes no tasks (READONLY)');

    const worker = await startWorker(api.redis.url, async (job) => resultOf(job));
    const run = join(api.directory, 'run');
    try {
      const all = await untilReady(({ checks }) => checks.worker.ok);
      expect(all).toMatchObject({ status: 'ready', checks: { e2fsprogs: { ok: true } } });

      const connection = connectRedis(api.redis.url, { use: 'request' });
      const queue = createTaskQueue(connection);
      await queue.pause();
      const paused = await untilReady(({ checks }) => !checks.worker.ok);
      expect(paused.checks.worker.reason).toBe('the queue is paused: tasks wait until it is resumed');
      await queue.resume();
      // With its memory full it answers, but takes no tasks.
      await connection.config('SET', 'maxmemory', '1');
      expect(await api.send('POST', '/images/pull', { body: { ref: 'a:1' } })).toMatchObject({
        status: 503,
        body: { code: 'redis_unavailable', error: expect.stringContaining('refuses to work (OOM)') },
      });
      const refusing = await untilReady(({ checks }) => !checks.redis.ok);
      expect(refusing.checks.redis.reason).toBe('Redis takes no tasks (OOM)');
      // It answers, so that the queue is known; the alert for a Redis that is down is meant for this, too.
      const metrics = (await api.send('GET', '/metrics')).text.split('\n');
      expect(metrics).toEqual(expect.arrayContaining(['bhatti_redis_up 0', 'bhatti_workers 1']));
      await connection.config('SET', 'maxmemory', '0');
      await untilReady(({ checks }) => checks.redis.ok);
      await queue.close();
      connection.disconnect();

      // A folder where the check writes makes it fail even for root, as a full disk would.
      await mkdir(join(run, 'write-check'));
      const full = await untilReady(({ checks }) => !checks.data_dir.ok);
      expect(full.checks.data_dir.reason).toBe('the data directory cannot be used (EISDIR)');
      expect(JSON.stringify(full)).not.toContain(api.directory);
      await rm(join(run, 'write-check'), { recursive: true });
    } finally {
      await worker.close();
    }

    await api.redis.kill();
    const away = await untilReady(({ checks }) => !checks.redis.ok);
    expect(away.checks.worker).toEqual({ ok: false, reason: 'unknown while Redis is away' });
    expect((await api.sendTcp('GET', '/health')).status).toBe(200);
    await api.redis.start();
    await untilReady(({ checks }) => checks.redis.ok);
    expect(JSON.stringify([without, away])).not.toContain(api.directory);
  });

  test('what the user in Redis may not do is told, and which command that is stands in the log', async () => {
    const operator = connectRedis(api.redis.url, { use: 'request' });
    try {
      // In a script Redis before 7.2 says that in other words.
      await operator.acl('SETUSER', 'default', '-sadd');
      expect(await api.send('POST', '/images/pull', { body: { ref: 'a:1' } })).toMatchObject({
        status: 503,
        body: { code: 'redis_unavailable', error: expect.stringContaining('refuses to work (NOPERM)') },
      });
      await operator.acl('SETUSER', 'default', '+sadd', '-client');
      const { checks } = await untilReady((seen) => !seen.checks.redis.ok);
      expect(checks.redis.reason).toBe('Redis refuses to work (NOPERM; see the log)');
      await ready();
      const told = api
        .log()
        .split('\n')
        .filter((line) => line.includes('NOPERM') && line.includes('"msg":"not ready'));
      expect(told).toEqual([
        expect.stringContaining('"msg":"not ready: Redis cannot be used"'),
        expect.stringContaining('"msg":"not ready"'),
      ]);
      expect(api.log()).toMatch(/NOPERM [^"]*'client/);
    } finally {
      await operator.acl('SETUSER', 'default', '+@all');
      operator.disconnect();
    }
  });

  test('the status tells of queue, workers, disk and Redis, and is for admins', async () => {
    const { token } = await api.store.users.create('carol', 'user');
    const headers = { authorization: `Bearer ${token}` };
    expect(await api.sendTcp('GET', '/admin/status', { headers })).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    });

    const begun = gate();
    const go = gate();
    const worker = await startWorker(api.redis.url, async (job) => {
      begun.open();
      await go.opened;
      return resultOf(job);
    });
    try {
      const id = await queuePull(api.send, { ref: '127.0.0.1:1/app' });
      await begun.opened;
      const status = AdminStatus.parse((await api.send('GET', '/admin/status')).body);
      expect(status).toMatchObject({
        queue: { waiting: 0, active: 1, delayed: 0, failed: 0, paused: false },
        workers: [{ name: `${hostname()}:${process.pid}`, tasks: [id] }],
        redis: { version: expect.stringMatching(/^(Redis|Valkey) \d+\./), maxmemory_policy: 'noeviction' },
      });
      expect(Date.now() - Date.parse(status.workers[0]?.connected_at ?? '')).toBeLessThan(60_000);
      expect(status.redis.memory_used_bytes).toBeGreaterThan(0);
      expect(status.disk.free_bytes).toBeGreaterThan(0);
      expect(status.disk.free_bytes).toBeLessThanOrEqual(status.disk.size_bytes);

      const { stdout, stderr } = await bhatti('admin', 'status');
      expect(stderr).toBe('');
      expect(stdout).toMatch(/^version +\S+$/m);
      expect(stdout).toMatch(/^queue +waiting 0, active 1, delayed 0, failed 0, completed 0, paused false/m);
      expect(stdout).toMatch(/^redis +version (Redis|Valkey) [\d.]+, .*maxmemory policy noeviction/m);
      expect(stdout).toContain(`${hostname()}:${process.pid}`);
      expect(AdminStatus.parse(JSON.parse((await bhatti('admin', 'status', '--json')).stdout)).version).toBe(
        status.version,
      );
    } finally {
      go.open();
      await worker.close();
    }
  });

  async function bhatti(...args: string[]) {
    const env = { PATH: process.env.PATH, HOME: api.directory, BHATTI_URL: api.url, BHATTI_TOKEN: api.token };
    const child = spawn(process.execPath, [program, ...args], { env });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (data) => {
      output.stdout += data;
    });
    child.stderr.on('data', (data) => {
      output.stderr += data;
    });
    await once(child, 'close');
    return output;
  }
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
