import { accessSync, constants } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CliError } from '../cli-error.ts';
import type { LocalPaths } from '../local-paths.ts';

/** Directories for servers, which the PATH of an unprivileged user often lacks. */
const EXTRA_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/opt/homebrew/bin'];
const COMMAND_TIMEOUT = 2000;

/** The Redis (or Valkey) binary on this machine. Throws CliError `redis_missing`. */
export function findRedisServer(env: NodeJS.ProcessEnv): string {
  const directories = [...(env.PATH ?? '').split(delimiter).filter(Boolean), ...EXTRA_DIRECTORIES];
  for (const name of ['redis-server', 'valkey-server']) {
    for (const directory of directories) {
      const path = join(directory, name);
      if (isExecutable(path)) return path;
    }
  }
  throw new CliError('redis_missing', 'neither redis-server nor valkey-server is installed', {
    hint: 'Install one (Debian, Ubuntu: apt-get install redis-server), or set REDIS_URL to a Redis that runs elsewhere.',
  });
}

/**
 * The configuration of the embedded Redis: it listens on its socket only, logs every write to the append-only file, and never
 * evicts, which would drop jobs.
 */
function redisConfiguration(paths: LocalPaths): string {
  return [
    'port 0',
    `unixsocket ${quote(paths.redisSocket)}`,
    'unixsocketperm 600',
    `dir ${quote(paths.redisDirectory)}`,
    'appendonly yes',
    'appendfsync everysec',
    'save ""',
    'maxmemory-policy noeviction',
    'daemonize no',
    'loglevel warning',
    'logfile ""',
    '',
  ].join('\n');
}

/** Writes the configuration file and resolves with its path. Removes the temporary files of a killed Redis, which Redis never does. */
export async function writeRedisConfiguration(paths: LocalPaths): Promise<string> {
  for (const folder of [paths.redisDirectory, join(paths.redisDirectory, 'appendonlydir')]) {
    for (const name of await readdir(folder).catch(() => [])) {
      if (/^temp-.*\.(?:rdb|aof|manifest)$/.test(name)) await rm(join(folder, name), { force: true });
    }
  }
  const file = join(paths.redisDirectory, 'redis.conf');
  await writeFile(file, redisConfiguration(paths), { mode: 0o600 });
  return file;
}

/** Resolves when the Redis behind the socket has loaded its data and answers; rejects when `signal` is aborted. */
export async function redisAnswers(socket: string, signal: AbortSignal): Promise<void> {
  while ((await redisCommand(socket, 'PING')) !== '+PONG') {
    await delay(10, undefined, { signal });
  }
}

/**
 * Stops a Redis that a killed supervisor left behind. Its append-only file is flushed first.
 * Rejects with CliError `redis_stuck` if it does not stop.
 */
export async function stopLeftoverRedis(socket: string): Promise<void> {
  if ((await redisCommand(socket, 'PING')) === undefined) return;
  await redisCommand(socket, 'SHUTDOWN NOSAVE');
  for (let attempt = 0; attempt < 300; attempt += 1) {
    if ((await redisCommand(socket, 'PING')) === undefined) return;
    await delay(10);
  }
  throw new CliError('redis_stuck', `another Redis answers at ${socket} and does not stop`);
}

/** The first line of the answer to an inline command (https://redis.io/docs/latest/develop/reference/protocol-spec/). */
function redisCommand(socket: string, command: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let answer = '';
    const connection = createConnection({ path: socket });
    const finish = () => {
      connection.destroy();
      resolve(answer.includes('\r\n') ? answer.slice(0, answer.indexOf('\r\n')) : undefined);
    };
    connection.setTimeout(COMMAND_TIMEOUT, finish);
    connection.on('connect', () => connection.write(`${command}\r\n`));
    connection.on('data', (data) => {
      answer += data.toString('latin1');
      if (answer.includes('\r\n')) finish();
    });
    connection.on('error', finish);
    connection.on('close', finish);
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Quoted as redis.conf wants it: C escapes, bytes that are not printable as `\xhh`. */
function quote(text: string): string {
  const escaped = [...Buffer.from(text)].map((byte) => {
    if (byte === 0x22 || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
    return byte < 0x20 || byte > 0x7e ? `\\x${byte.toString(16).padStart(2, '0')}` : String.fromCharCode(byte);
  });
  return `"${escaped.join('')}"`;
}
