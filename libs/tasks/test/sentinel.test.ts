import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
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

/** A master, its replica and a sentinel, real servers on loopback. */
class Failover {
  readonly directory: string;
  readonly #servers: ChildProcess[] = [];
  masterPort = 0;
  replicaPort = 0;
  sentinelPort = 0;

  constructor(directory: string) {
    this.directory = directory;
  }

  async start(): Promise<void> {
    [this.masterPort, this.replicaPort, this.sentinelPort] = [await freePort(), await freePort(), await freePort()];
    const own = ['--bind', '127.0.0.1', '--dir', this.directory, '--save', ''];
    this.#spawn([...own, '--port', String(this.masterPort)]);
    this.#spawn([...own, '--port', String(this.replicaPort), '--replicaof', `127.0.0.1 ${this.masterPort}`]);
    const replica = new Redis(this.replicaPort, { retryStrategy: () => 50 });
    replica.on('error', () => {});
    await eventually(async () => (await replica.info('replication').catch(() => '')).includes('master_link_status:up'));
    replica.disconnect();
    const config = join(this.directory, 'sentinel.conf');
    await writeFile(
      config,
      [
        `port ${this.sentinelPort}`,
        'bind 127.0.0.1',
        `sentinel monitor queue 127.0.0.1 ${this.masterPort} 1`,
        'sentinel down-after-milliseconds queue 500',
        'sentinel failover-timeout queue 3000',
        '',
      ].join('\n'),
    );
    this.#spawn([config, '--sentinel']);
    const sentinel = new Redis(this.sentinelPort, { retryStrategy: () => 50 });
    sentinel.on('error', () => {});
    await eventually(async () => (await sentinel.info('sentinel').catch(() => '')).includes('slaves=1'));
    sentinel.disconnect();
  }

  async killMaster(): Promise<void> {
    const [master] = this.#servers;
    if (master !== undefined) await end(master);
  }

  /** Then nobody answers, and the sentinel still takes connections. */
  async killReplicaAndStopSentinel(): Promise<void> {
    const [, replica, sentinel] = this.#servers;
    sentinel?.kill('SIGSTOP');
    if (replica !== undefined) await end(replica);
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) await end(server);
  }

  #spawn(args: readonly string[]): void {
    this.#servers.push(spawn('redis-server', args, { stdio: 'ignore' }));
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

test('tasks go on after Sentinel has made the replica the master', async () => {
  const url = `redis+sentinel://127.0.0.1:${servers.sentinelPort}/queue`;
  const requests = connectRedis(url, { use: 'request' });
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
  worker.on('error', () => {});
  const completed = (id: string) =>
    eventually(async () => (await findTask(queue, id).catch(() => null))?.view.status === 'completed');
  try {
    await completed((await enqueuePull(queue, { ...data, name: 'before' })).id);
    const { id } = await enqueuePull(queue, { ...data, name: 'through' });
    await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
    // Only what has reached the replica outlives the master.
    await eventually(async () => (await requests.wait(1, 1000)) === 1);
    await servers.killMaster();
    finish();
    await completed(id);
    const after = await eventually(() => enqueuePull(queue, { ...data, name: 'after' }).catch(() => undefined));
    await completed(after.id);
    expect(await requests.info('replication')).toContain('role:master');
    expect(await requests.info('server')).toContain(`tcp_port:${servers.replicaPort}`);
  } finally {
    await worker.close();
    await queue.close();
    requests.disconnect();
    connection.disconnect();
  }
});

test('a connection that is given up between two attempts ends, also when the sentinel does not answer', async () => {
  const redis = connectRedis(`redis+sentinel://127.0.0.1:${servers.sentinelPort}/queue`, { use: 'worker' });
  await redis.ping();
  // Not by `once` of node:events, which rejects at an error: a connection that breaks may tell of one.
  const says = (what: 'reconnecting' | 'end') => new Promise((resolve) => redis.once(what, resolve));
  const reconnecting = says('reconnecting');
  await servers.killReplicaAndStopSentinel();
  await reconnecting;
  const ended = says('end');
  redis.disconnect();
  await ended;
});
