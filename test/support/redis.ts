import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Ms within which a server must answer. */
const startTimeout = 15_000;

/** A redis-server of its own, on a unix socket in a temporary folder. */
export interface TestRedis {
  /** For `connectRedis`, or `REDIS_URL`. */
  readonly url: string;
  readonly socketPath: string;
  readonly directory: string;
  /** Of the current process. */
  readonly pid: () => number;
  /** Kills the server and waits for its end. The data stays. */
  readonly kill: (signal?: NodeJS.Signals) => Promise<void>;
  /** Starts it again, on the same socket with the same data. */
  readonly start: () => Promise<void>;
  /** Stops it for good and removes its folder. */
  readonly stop: () => Promise<void>;
}

export interface TestRedisOptions {
  /** Further settings as on the command line: `['--maxmemory-policy', 'allkeys-lru']`. */
  readonly settings?: readonly string[];
}

/**
 * Starts a server that keeps an append-only file, so that it has its data after `kill` and `start`. Everything it has answered is
 * written: with `everysec`, a write waits while the one before is synced to a busy disk, and is lost if the process is killed then.
 */
export async function startRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-redis-'));
  const socketPath = join(directory, 'redis.sock');
  let server: ChildProcess | undefined;

  const start = async () => {
    server = spawnServer(directory, socketPath, options.settings ?? []);
    await untilReady(server, socketPath);
  };
  const kill = async (signal: NodeJS.Signals = 'SIGKILL') => {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    // A stopped process receives the signal only when it is continued.
    server.kill('SIGCONT');
    await ended;
  };
  await start();
  return {
    url: socketPath,
    socketPath,
    directory,
    pid: () => server?.pid ?? 0,
    kill,
    start,
    stop: async () => {
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function spawnServer(directory: string, socketPath: string, settings: readonly string[]): ChildProcess {
  const own = ['--port', '0', '--unixsocket', socketPath, '--unixsocketperm', '700', '--dir', directory];
  const persistence = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'no'];
  const memory = ['--maxmemory-policy', 'noeviction'];
  return spawn('redis-server', [...own, ...persistence, ...memory, ...settings], { stdio: 'ignore' });
}

async function untilReady(server: ChildProcess, socketPath: string): Promise<void> {
  let failure: Error | undefined;
  server.once('error', (error) => {
    failure = error;
  });
  const deadline = Date.now() + startTimeout;
  while (Date.now() < deadline) {
    if (failure !== undefined) throw new Error('redis-server does not start', { cause: failure });
    if (server.exitCode !== null) throw new Error(`redis-server ended with ${server.exitCode}`);
    // NOAUTH: it wants a password, but it is up.
    if (/^(\+PONG|-NOAUTH)/.test((await ping(socketPath)) ?? '')) return;
    await sleep(10);
  }
  throw new Error('redis-server does not answer');
}

/** The first line of the answer to PING, which is an error while the data is being loaded. */
function ping(socketPath: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(socketPath, () => socket.write('PING\r\n'));
    socket.once('error', () => resolve(undefined));
    socket.once('data', (data) => {
      resolve(data.toString().split('\r\n', 1)[0]);
      socket.destroy();
    });
  });
}
