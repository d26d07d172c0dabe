import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import * as z from 'zod';
import { eventually } from '../../../test/support/eventually.ts';
import { freePort } from '../../../test/support/redis-cluster.ts';
import {
  connectRedis,
  createTaskQueue,
  enqueuePull,
  findTask,
  QUEUE_NAME,
  type TaskWorker,
  workerOptions,
} from '../index.ts';
import { data, result } from './support/fixture.ts';

/** A master, two replicas and a sentinel, real servers on loopback. */
class Failover {
  readonly directory: string;
  /** By port. */
  readonly #servers = new Map<number, ChildProcess>();
  #sentinel: { readonly port: number; readonly process: ChildProcess } | undefined;

  constructor(directory: string) {
    this.directory = directory;
  }

  get sentinelPort(): number {
    return this.#sentinel?.port ?? 0;
  }

  async start(): Promise<void> {
    const [master, ...replicas] = [await freePort(), await freePort(), await freePort()];
    const own = ['--bind', '127.0.0.1', '--dir', this.directory, '--save', ''];
    this.#spawn(master, own);
    for (const port of replicas) {
      this.#spawn(port, [...own, '--replicaof', `127.0.0.1 ${master}`, '--dbfilename', `${port}.rdb`]);
    }
    for (const port of replicas) {
      await this.#asking(port, (redis) => redis.info('replication'), 'master_link_status:up');
    }
    const port = await freePort();
    const config = join(this.directory, 'sentinel.conf');
    await writeFile(
      config,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `sentinel monitor queue 127.0.0.1 ${master} 1`,
        'sentinel down-after-milliseconds queue 500',
        'sentinel failover-timeout queue 3000',
        '',
      ].join('\n'),
    );
    const process = spawn('redis-server', [config, '--sentinel'], { stdio: 'ignore' });
    this.#sentinel = { port, process };
    await this.#asking(port, (redis) => redis.info('sentinel'), 'slaves=2');
  }

  /** Sends the signal to the server that is the master now. Resolves with its port. */
  async signalMaster(signal: 'SIGKILL' | 'SIGSTOP'): Promise<number> {
    const sentinel = new Redis(this.sentinelPort);
    const answer = await sentinel.call('sentinel', 'get-master-addr-by-name', 'queue');
    const [, port] = z.tuple([z.string(), z.coerce.number()]).parse(answer);
    sentinel.disconnect();
    this.#servers.get(port)?.kill(signal);
    return port;
  }

  /** It still takes connections. */
  hangSentinel(): void {
    this.#sentinel?.process.kill('SIGSTOP');
  }

  async stop(): Promise<void> {
    for (const server of this.#servers.values()) await end(server);
    if (this.#sentinel !== undefined) await end(this.#sentinel.process);
  }

  #spawn(port: number, args: readonly string[]): void {
    this.#servers.set(port, spawn('redis-server', [...args, '--port', String(port)], { stdio: 'ignore' }));
  }

  /** Waits for the answer. */
  async #asking(port: number, question: (redis: Redis) => Promise<string>, wanted: string): Promise<void> {
    const redis = new Redis(port, { retryStrategy: () => 50 });
    redis.on('error', () => {});
    await eventually(async () => (await question(redis).catch(() => '')).includes(wanted));
    redis.disconnect();
  }
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, 'exit');
  server.kill('SIGKILL');
  await ended;
}

let servers: Failover;
beforeAll(async () => {
  servers = new Failover(await mkdtemp(join(tmpdir(), 'bhatti-sentinel-')));
  await servers.start();
});
afterAll(async () => {
  await servers.stop();
  await rm(servers.directory, { recursive: true, force: true });
});

test.each([
  { happens: 'hangs, its connections open', signal: 'SIGSTOP', replicas: 2 },
  { happens: 'dies', signal: 'SIGKILL', replicas: 1 },
] as const)('tasks go on after Sentinel has replaced a master that $happens', async ({ signal, replicas }) => {
  const url = `redis+sentinel://127.0.0.1:${servers.sentinelPort}/queue`;
  const told: string[] = [];
  const requests = connectRedis(url, { use: 'request', onError: ({ message }) => told.push(message) });
  const connection = connectRedis(url, { use: 'worker' });
  const queue = createTaskQueue(requests);
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const worker: TaskWorker = new Worker(
    QUEUE_NAME,
    async (job) => {
      if (job.data.name === 'through') await finished;
      return result;
    },
    workerOptions({ connection }),
  );
  worker.on('error', ({ message }) => told.push(message));
  const completed = (id: string) =>
    eventually(async () => (await findTask(queue, id).catch(() => null))?.view.status === 'completed');
  try {
    await completed((await enqueuePull(queue, { ...data, name: 'before' })).id);
    const { id } = await enqueuePull(queue, { ...data, name: 'through' });
    await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
    // Only what has reached the replica that Sentinel chooses outlives the master.
    await eventually(async () => (await requests.wait(replicas, 1000)) === replicas);
    const former = await servers.signalMaster(signal);
    finish();
    await completed(id);
    const after = await eventually(() => enqueuePull(queue, { ...data, name: 'after' }).catch(() => undefined));
    await completed(after.id);
    // There is one, which was there all the time.
    expect(told.filter((message) => message.includes('sentinels'))).toEqual([]);
    expect(await requests.info('replication')).toContain('role:master');
    expect(await requests.info('server')).not.toContain(`tcp_port:${former}`);
  } finally {
    await worker.close();
    await queue.close();
    requests.disconnect();
    connection.disconnect();
  }
});

test('a sentinel that hangs is not waited for', async () => {
  const hanging = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
  await once(hanging, 'listening');
  const { port } = z.object({ port: z.number() }).parse(hanging.address());
  const url = `redis+sentinel://127.0.0.1:${port},127.0.0.1:${servers.sentinelPort}/queue`;
  const redis = connectRedis(url, { use: 'worker' });
  expect(await redis.ping()).toBe('PONG');
  redis.disconnect();
  hanging.close();
});

test('a connection that is given up between two attempts ends, also when the sentinel does not answer', async () => {
  const redis = connectRedis(`redis+sentinel://127.0.0.1:${servers.sentinelPort}/queue`, { use: 'worker' });
  await redis.ping();
  // Not by `once` of node:events, which rejects at an error: a connection that breaks may tell of one.
  const says = (what: 'reconnecting' | 'end') => new Promise((resolve) => redis.once(what, resolve));
  const reconnecting = says('reconnecting');
  await servers.signalMaster('SIGKILL');
  servers.hangSentinel();
  await reconnecting;
  const ended = says('end');
  redis.disconnect();
  await ended;
});
