import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectRedis, createTaskQueue } from '@bhatti/tasks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AdminStatus, Readiness } from '../api-schema.ts';
import { queuePull, startTestStack, type TestStack } from './support/api.ts';
import { gate, resultOf, startWorker } from './support/worker.ts';

/** The built command line. */
const program = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url));

describe('for those who run it', () => {
  let api: TestStack;
  beforeAll(async () => {
    api = await startTestStack();
  });
  afterAll(() => api.close());

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
