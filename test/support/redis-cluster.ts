import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';

const execute = promisify(execFile);
const NODES = 3;

/** A Cluster of three masters on loopback. */
export interface TestCluster {
  /** For `connectRedis`, or `REDIS_URL`: one node, from which clients learn the others. */
  readonly url: string;
  readonly ports: readonly number[];
  stop(): Promise<void>;
}

export async function startCluster(): Promise<TestCluster> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-cluster-'));
  const ports: number[] = [];
  while (ports.length < NODES) ports.push(await freePort());
  const servers: ChildProcess[] = [];
  const stop = async () => {
    await Promise.all(servers.map(end));
    await rm(directory, { recursive: true, force: true });
  };
  try {
    for (const port of ports) {
      const own = join(directory, String(port));
      await mkdir(own);
      const network = ['--port', String(port), '--bind', '127.0.0.1', '--dir', own, '--save', ''];
      // The default for the bus is 10000 higher, which may be no valid port.
      const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())];
      servers.push(spawn('redis-server', [...network, ...cluster], { stdio: 'ignore' }));
    }
    for (const port of ports) await untilSays(port, 'PING', 'PONG');
    const addresses = ports.map((port) => `127.0.0.1:${port}`);
    await execute('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-yes']);
    for (const port of ports) await untilSays(port, 'CLUSTER INFO', 'cluster_state:ok');
    return { url: `redis+cluster://${addresses[0]}`, ports, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function untilSays(port: number, command: string, wanted: string): Promise<void> {
  const redis = new Redis(port, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  redis.on('error', () => {});
  const [name = '', ...rest] = command.split(' ');
  while (!String(await redis.call(name, ...rest)).includes(wanted)) await sleep(50);
  redis.disconnect();
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, 'exit');
  server.kill('SIGKILL');
  await ended;
}

/** A free port outside the ephemeral range, from which Linux might give it to another test before it is used. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_768);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
