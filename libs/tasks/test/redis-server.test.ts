import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import * as z from 'zod';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import {
  cancelTask,
  checkRedisServer,
  connectRedis,
  createTaskQueue,
  createTaskRelay,
  enqueuePull,
  findTask,
  jobError,
  QUEUE_NAME,
  RunningTasks,
  subscribeCancellations,
  TaskError,
  type TaskWorker,
  takeTurn,
  workerOptions,
} from '../index.ts';
import { data } from './support/fixture.ts';

describe('checkRedisServer', () => {
  let server: TestRedis;

  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  test('is content with a server as it should be, and warns of one that throws tasks away', async () => {
    const redis = connectRedis(server.url, { use: 'request' });
    const good = await checkRedisServer(redis);
    expect(good.product).toMatch(/^(Redis|Valkey) \d+\.\d+/);
    expect(good.warnings).toEqual([]);
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    expect((await checkRedisServer(redis)).warnings).toEqual([expect.stringContaining('allkeys-lru')]);
    redis.disconnect();
  });

  test('says when it does not answer', async () => {
    const redis = connectRedis(`${server.directory}/nobody.sock`, { use: 'request' });
    await expect(checkRedisServer(redis)).rejects.toMatchObject({ code: 'redis_unavailable', retryable: true });
    redis.disconnect();
  });
});

/** A server that answers each command, by its text, as old versions do, which cannot be installed here. */
async function startOld(answer: (command: string) => string): Promise<{ url: string; close: () => void }> {
  const server = createServer((client) => {
    client.on('data', (bytes) => {
      for (const command of bytes
        .toString()
        .split(/^\*\d+\r\n/m)
        .slice(1))
        client.write(`${answer(command)}\r\n`);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = z.object({ port: z.int() }).parse(server.address());
  return { url: `redis://127.0.0.1:${port}`, close: () => server.close() };
}

/** What `checkRedisServer` makes of a server that says this of itself. */
async function judged(said: string): Promise<string> {
  const text = `# Server\r\n${said}\r\nredis_mode:standalone\r\n`;
  const server = await startOld((command) => (/^info\r$/im.test(command) ? `$${text.length}\r\n${text}` : '+OK'));
  const redis = connectRedis(server.url, { use: 'request' });
  try {
    const { product, warnings } = await checkRedisServer(redis);
    // Nothing is said of a policy that it hides.
    expect(warnings).toEqual([]);
    return product;
  } catch (error) {
    if (!(error instanceof TaskError)) throw error;
    expect(error).toMatchObject({ code: 'redis_unavailable', retryable: false });
    return error.message;
  } finally {
    redis.disconnect();
    server.close();
  }
}

describe('the version', () => {
  test.each([
    ['redis_version:5.9.0', 'Redis 5.9.0 is too old: Redis 6.2 or newer, or Valkey, is needed'],
    ['redis_version:6.0.16', 'Redis 6.0.16 is too old: Redis 6.2 or newer, or Valkey, is needed'],
    ['redis_version:6.2.0', 'Redis 6.2.0'],
    ['redis_version:10.0.1', 'Redis 10.0.1'],
    ['redis_version:7.2.4\r\nvalkey_version:8.0.1', 'Valkey 8.0.1'],
    ['run_id:hidden', 'Redis of unknown version'],
  ])('%p', async (said, verdict) => {
    expect(await judged(said)).toBe(verdict);
  });
});

test.each(['request', 'worker'] as const)(
  'a write to a Redis that has become a replica is sent again (%s)',
  async (use) => {
    const server = await startRedis();
    const operator = connectRedis(server.url, { use: 'request' });
    const redis = connectRedis(server.url, { use });
    try {
      await redis.set('key', 'before');
      await operator.replicaof('127.0.0.1', 1);
      let refusals = 0;
      redis.on('reconnecting', () => {
        // Or, as after a failover, the next connection leads to one that is none.
        refusals += 1;
        if (refusals === 2) void operator.replicaof('NO', 'ONE');
      });
      expect(await redis.set('key', 'after')).toBe('OK');
      expect(refusals).toBeGreaterThanOrEqual(2);
    } finally {
      redis.disconnect();
      operator.disconnect();
      await server.stop();
    }
  },
);

test('a connection has its name, and a request is told that a Redis that hangs does not answer', async () => {
  const server = await startRedis();
  const redis = connectRedis(server.url, { use: 'request', name: 'bhatti-test' });
  expect(await redis.client('LIST')).toContain(' name=bhatti-test ');
  process.kill(server.pid(), 'SIGSTOP');
  try {
    await expect(redis.ping()).rejects.toThrow('Command timed out');
  } finally {
    process.kill(server.pid(), 'SIGCONT');
    redis.disconnect();
    await server.stop();
  }
});

test('however long Redis was away, it is tried again within a second', () => {
  const redis = connectRedis('/nonexistent/redis.sock', { use: 'worker' });
  if (!(redis instanceof Redis)) throw new Error('this is a cluster');
  const { retryStrategy } = redis.options;
  const delays = [1, 2, 10, 1000, 1_000_000].map((times) => retryStrategy?.(times));
  expect(delays).toEqual([100, 200, 1000, 1000, 1000]);
  redis.disconnect();
});

test('a script that a replica of version 6.2 refuses is sent again', async () => {
  const info = '# Server\r\nredis_version:6.2.0\r\n';
  const script = '@user_script:1: @user_script: 1:';
  let refusals = 0;
  const server = await startOld((command) => {
    if (/^info\r$/im.test(command)) return `$${info.length}\r\n${info}`;
    if (!/^evalsha\r$/im.test(command) || refusals > 0) return '+OK';
    refusals += 1;
    return `-ERR Error running script (call to f_1): ${script} -READONLY You can't write against a read only replica.`;
  });
  const redis = connectRedis(server.url, { use: 'worker' });
  expect(await redis.evalsha('1', 0)).toBe('OK');
  expect(refusals).toBe(1);
  redis.disconnect();
  server.close();
});

describe('a Redis that has all the clients it may have', () => {
  test('is told as that, to who asks and to who waits, with what to do', async () => {
    const server = await startRedis({ settings: ['--maxclients', '1'] });
    const first = connectRedis(server.url, { use: 'request' });
    await first.ping();
    const refusal = /^Redis refuses us: ERR max number of clients reached; raise its maxclients/;
    const second = connectRedis(server.url, { use: 'request' });
    await expect(checkRedisServer(second)).rejects.toMatchObject({
      code: 'redis_unavailable',
      retryable: true,
      message: expect.stringMatching(refusal),
    });
    second.disconnect();
    const told: string[] = [];
    const third = connectRedis(server.url, { use: 'worker', onError: ({ message }) => told.push(message) });
    await eventually(() => told.some((message) => refusal.test(message)));
    third.disconnect();
    first.disconnect();
    await server.stop();
  });
});

describe('a Redis that wants to know who is there', () => {
  let server: TestRedis;
  const as = (user: string) => connectRedis(`redis+unix://${user}@${server.socketPath}`, { use: 'worker' });

  beforeAll(async () => {
    const rules = (text: string) => ['--user', ...text.split(' ')];
    const settings = [
      ...rules('default on >pass@word ~* &* +@all'),
      // As docs/scaling.md has it.
      ...rules('bhatti on >secret ~{bhatti}:* &* +@all -@dangerous +info +client|list'),
      ...rules('nobody on >secret ~other:* &* -@all'),
    ];
    server = await startRedis({ settings });
  });
  afterAll(() => server.stop());

  test.each([':pass%40word', 'bhatti:secret'])('%s can do all that tasks need', async (user) => {
    const connection = as(user);
    expect((await checkRedisServer(connection)).warnings).toEqual([]);
    const queue = createTaskQueue(connection);
    const relay = createTaskRelay(connection);
    const running = new RunningTasks();
    const worker: TaskWorker = new Worker(
      QUEUE_NAME,
      (job) =>
        running.run(
          job.id ?? '',
          (signal) =>
            new Promise((_resolve, reject) => {
              signal.addEventListener('abort', () =>
                reject(jobError({ code: 'cancelled', message: '', retryable: false })),
              );
            }),
        ),
      workerOptions({ connection }),
    );
    const cancellations = await subscribeCancellations(relay, queue, running);
    const priority = await takeTurn(connection, 'local');
    const { id } = await enqueuePull(queue, data, { priority });
    await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
    expect(await queue.getWorkersCount()).toBe(1);
    await cancelTask(queue, relay, id);
    await eventually(async () => (await findTask(queue, id))?.view.status === 'cancelled');
    await cancellations.close();
    await worker.close();
    await relay.close();
    await queue.close();
    connection.disconnect();
  });

  test.each([
    [':wrong', 'WRONGPASS'],
    ['nobody:secret', 'NOPERM'],
    ['', 'NOAUTH'],
  ])('%p is told that it is refused, and why', async (user, reply) => {
    // ioredis prints what an INFO without permission means to it; the apps' logs take that in.
    const printed = jest.spyOn(console, 'warn').mockReturnValue(undefined);
    const connection = connectRedis(user === '' ? server.socketPath : `redis+unix://${user}@${server.socketPath}`, {
      use: 'request',
    });
    await expect(checkRedisServer(connection)).rejects.toThrow(new RegExp(`^Redis refuses us: ${reply} .*REDIS_URL`));
    connection.disconnect();
    printed.mockRestore();
  });
});
