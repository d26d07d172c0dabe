import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import * as z from 'zod';
import { atMostStarting } from '../../../test/support/bhatti.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { acquirePidLock } from '../serve/pid-lock.ts';
import { identifyProcess } from '../serve/process-identity.ts';
import { runHere } from './command-line.ts';
import { serveAnswers } from './http-server.ts';
import { cleanEnvironment, stageCli } from './staged-cli.ts';

/**
 * The supervisor with a real Redis, and with an API and a worker that only fulfil its contract: they report ready over IPC
 * or answer, and end on SIGTERM and on disconnect. The whole stack is tested end to end elsewhere.
 */
const API = `
  import { createServer } from 'node:http';
  import { rmSync, writeFileSync } from 'node:fs';
  if (process.env.BHATTI_LISTEN === 'broken') { console.error('bhatti api: the address is broken'); process.exit(1); }
  if (process.env.BHATTI_LISTEN === 'crash') throw new Error('a crash');
  const socket = process.env.BHATTI_DATA_DIR + '/run/api.sock';
  rmSync(socket, { force: true });
  writeFileSync(process.env.BHATTI_DATA_DIR + '/run/api.json', JSON.stringify({ pid: process.pid, listen: null, taken: null }));
  createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.url === '/health' ? { status: 'ok', version: '0', redis: 'ok' } : { images: [] }));
  }).listen(socket);
  process.on('SIGTERM', () => process.exit(0));
  process.on('disconnect', () => process.exit(0));`;
const WORKER = `
  process.on('SIGTERM', () => process.exit(0));
  process.on('disconnect', () => process.exit(0));
  setInterval(() => {}, 1e6);
  process.send({ type: 'ready' });`;

const statusSchema = z.object({
  state: z.string(),
  pid: z.number(),
  children: z.array(z.object({ name: z.string(), pid: z.number(), ready: z.boolean() })),
  redis: z.string(),
  socket: z.string(),
  log: z.string().nullable(),
});

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('skipped: the server on a full disk, because only root can mount a tmpfs\n');

let staged: Awaited<ReturnType<typeof stageCli>>;
let dataDirectory: string;
beforeAll(async () => {
  staged = await stageCli({ 'api.js': API, 'worker.js': WORKER });
});
afterEach(async () => {
  if (dataDirectory !== staged.dataDirectory(SHARED)) await stopStack();
});
afterAll(async () => {
  fresh(SHARED);
  await stopStack();
  await staged.remove();
});

function fresh(name: string): void {
  dataDirectory = staged.dataDirectory(name);
}

async function stopStack(): Promise<void> {
  // The lock of one that runs.
  if (existsSync(join(dataDirectory, 'run/serve.pid'))) await ask('serve', 'stop');
}

/** The data directory of the tests that leave a stack running, whatever they do to it. */
const SHARED = 'shared';

/** The stack that such a test left there, or a new one. */
async function sharedStack() {
  fresh(SHARED);
  if ((await ask('serve', 'status')).exitCode !== 0) await run(['serve', '--detach']);
  return status();
}

const environment = (extra: NodeJS.ProcessEnv = {}) =>
  cleanEnvironment(dataDirectory, { BHATTI_DATA_DIR: dataDirectory, ...extra });

/** Runs a process, which can start a stack of the programs beside it. */
const run = (args: readonly string[], extra?: NodeJS.ProcessEnv) => staged.run(args, { env: environment(extra) });

/** Runs a command that finds what runs, and could not start it. */
const ask = (...args: string[]) => runHere(args, { env: environment() });

async function status() {
  const { stdout } = await ask('serve', 'status', '--json');
  return statusSchema.parse(JSON.parse(stdout));
}

function pidOf(of: z.output<typeof statusSchema>, name: string): number {
  const child = of.children.find((part) => part.name === name);
  if (child === undefined) throw new Error(`no ${name} in ${JSON.stringify(of)}`);
  return child.pid;
}

function lives(pid: number): boolean {
  // A zombie is not alive.
  return identifyProcess(pid) !== undefined;
}

/** The answers of Redis to inline commands, in one go. */
async function redis(socket: string, ...commands: string[]): Promise<string> {
  const connection = createConnection({ path: socket });
  connection.end(`${[...commands, 'QUIT'].join('\r\n')}\r\n`);
  let answer = '';
  connection.on('data', (data) => {
    answer += data;
  });
  await once(connection, 'close');
  return answer;
}

describe('bhatti serve', () => {
  test('the first command starts a stack that stays, private to its user; stop ends all of it', async () => {
    fresh('first');
    const secrets = { BHATTI_REGISTRY_AUTH: 'user:hidden', BHATTI_TOKEN: 'bht_hidden' };
    expect(await run(['image', 'list'], secrets)).toEqual({
      exitCode: 0,
      stdout: 'NAME  REF  SIZE  CREATED  DIGEST\n',
      stderr: expect.stringMatching(atMostStarting),
    });
    const running = await status();
    expect(running).toMatchObject({ state: 'running', redis: 'embedded', log: join(dataDirectory, 'run/serve.log') });
    // Secrets in a command's environment do not stay in the server that it starts. (Redis writes its process title there.)
    for (const pid of [running.pid, pidOf(running, 'api'), pidOf(running, 'worker 1')]) {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8');
      expect(environment).toContain('PATH=');
      expect(environment).not.toContain('hidden');
    }
    expect(running.children.map(({ name, ready }) => [name, ready])).toEqual([
      ['redis', true],
      ['api', true],
      ['worker 1', true],
    ]);
    for (const path of [dataDirectory, join(dataDirectory, 'run'), join(dataDirectory, 'redis')]) {
      expect((await stat(path)).mode & 0o777).toBe(0o700);
    }
    for (const path of ['run/serve.log', 'run/serve.json', 'run/serve.pid', 'redis/redis.conf']) {
      expect((await stat(join(dataDirectory, path))).mode & 0o777).toBe(0o600);
    }
    expect((await stat(join(dataDirectory, 'run/redis.sock'))).mode & 0o777).toBe(0o600);
    // Redis keeps every write in an append-only file, and evicts nothing.
    const settings = ['appendonly', 'appendfsync', 'maxmemory-policy', 'save', 'port'];
    const answer = await redis(
      join(dataDirectory, 'run/redis.sock'),
      ...settings.map((setting) => `CONFIG GET ${setting}`),
    );
    const values = answer.split('\r\n').filter((line) => line !== '' && !/^[*$+]/.test(line));
    expect(values).toEqual([
      'appendonly',
      'yes',
      'appendfsync',
      'everysec',
      'maxmemory-policy',
      'noeviction',
      'save',
      'port',
      '0',
    ]);
    const log = join(dataDirectory, 'run/serve.log');
    await truncate(log, 20_000_000);
    await eventually(async () => (await stat(log)).size < 1_000_000);
    expect((await stat(`${log}.1`)).size).toBeGreaterThanOrEqual(20_000_000);
    expect(await run(['serve', 'stop'])).toEqual({ exitCode: 0, stdout: 'stopped\n', stderr: '' });
    expect([running.pid, ...running.children.map(({ pid }) => pid)].filter(lives)).toEqual([]);
    expect(await ask('serve', 'status')).toMatchObject({ exitCode: 1, stdout: expect.stringContaining('stopped') });
    expect(await ask('serve', 'stop')).toMatchObject({ exitCode: 0, stdout: 'not running\n' });
  });

  test('commands at the same time end with one stack, which is stopped when it is suspended, too', async () => {
    fresh('together');
    const outcomes = await Promise.all([1, 2, 3].map(() => run(['serve', '--detach', '--json'])));
    expect(outcomes).toEqual(
      outcomes.map(() => ({
        exitCode: 0,
        stdout: expect.any(String),
        stderr: expect.stringMatching(atMostStarting),
      })),
    );
    const pids = outcomes.map(({ stdout }) => statusSchema.parse(JSON.parse(stdout)).pid);
    expect(new Set(pids).size).toBe(1);
    const again = await run(['serve']);
    expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(`runs already (pid ${pids[0]}`) });
    expect(await run(['serve', '--detach', '--workers', '2'])).toMatchObject({
      exitCode: 0,
      stderr: 'warning: it runs already, as it was started; for other flags: bhatti serve stop, then this again\n',
    });
    process.kill(pids[0] ?? 0, 'SIGSTOP');
    expect(await ask('serve', 'stop')).toEqual({ exitCode: 0, stdout: 'stopped\n', stderr: '' });
  });

  test('a data directory that is a file is told', async () => {
    fresh('file');
    await writeFile(dataDirectory, '');
    for (const outcome of [ask('serve', 'status'), ask('serve', 'stop'), run(['serve', '--detach'])]) {
      expect(await outcome).toEqual({
        exitCode: 1,
        stdout: '',
        stderr: expect.stringMatching(
          /^error: cannot look into the data directory .* \(data_dir_unusable\)\nIt, or run in it, is a file: /,
        ),
      });
    }
  });

  test('a file in the place of one of its folders is named', async () => {
    for (const name of ['run', 'redis']) {
      fresh(`file-${name}`);
      await mkdir(dataDirectory);
      await writeFile(join(dataDirectory, name), '');
      expect(await run(['serve'])).toEqual({
        exitCode: 1,
        stdout: '',
        stderr: `error: ${join(dataDirectory, name)} is in the way: it is not a directory (EEXIST) (data_dir_unusable)
Move it elsewhere, or choose another data directory with --data-dir or BHATTI_DATA_DIR.
`,
      });
    }
  });

  test('every part that is killed is started again', async () => {
    const before = await sharedStack();
    const names = before.children.map(({ name }) => name);
    expect(names).toEqual(['redis', 'api', 'worker 1']);
    for (const { pid } of before.children) process.kill(pid, 'SIGKILL');
    await eventually(async () => {
      const { children } = await status();
      return (
        children.length === names.length &&
        children.every(({ pid, ready }) => ready && !before.children.some((child) => child.pid === pid))
      );
    });
    const after = await status();
    expect([after.pid, after.children.map(({ name }) => name)]).toEqual([before.pid, names]);
  });

  test('a stack whose supervisor is killed: the parts end, and the next stack has all of its data', async () => {
    const before = await sharedStack();
    const socket = join(dataDirectory, 'run/redis.sock');
    await redis(socket, 'SET survivor yes');
    process.kill(before.pid, 'SIGKILL');
    await eventually(() => !lives(pidOf(before, 'api')) && !lives(pidOf(before, 'worker 1')));
    expect(lives(pidOf(before, 'redis'))).toBe(true);
    expect(await ask('serve', 'status')).toMatchObject({ exitCode: 1 });
    expect(await run(['image', 'list'])).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(atMostStarting) });
    const after = await status();
    expect(lives(pidOf(before, 'redis'))).toBe(false);
    expect(pidOf(after, 'redis')).not.toBe(pidOf(before, 'redis'));
    expect(await redis(socket, 'GET survivor')).toContain('yes');
  });

  test('a stack whose data directory is removed ends, and does not keep the port from the next', async () => {
    const before = await sharedStack();
    await rm(dataDirectory, { recursive: true });
    expect(await run(['image', 'list'])).toMatchObject({ exitCode: 0 });
    const pids = [before.pid, ...before.children.map(({ pid }) => pid)];
    await eventually(() => pids.filter(lives).length === 0);
    // The sockets of the next are still there.
    const next = await status();
    expect(await ask('image', 'list')).toMatchObject({ exitCode: 0, stderr: '' });
    expect([(await status()).pid, await redis(join(dataDirectory, 'run/redis.sock'), 'PING')]).toEqual([
      next.pid,
      expect.stringContaining('PONG'),
    ]);
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'in the foreground, %s stops it in order, with exit code 0',
    async (signal) => {
      fresh(`foreground-${signal}`);
      const child = spawn(process.execPath, [staged.cli, 'serve'], {
        env: environment(),
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const exit = once(child, 'exit');
      let log = '';
      await new Promise<void>((resolve) => {
        child.stderr.on('data', (data) => {
          log += data;
          if (log.includes('healthy')) resolve();
        });
      });
      const { children, log: logFile } = await status();
      expect(logFile).toBeNull();
      child.kill(signal);
      expect(await exit).toEqual([0, null]);
      expect(children.map(({ pid }) => pid).filter(lives)).toEqual([]);
    },
  );

  test('one whose port is taken says so, and what to do', async () => {
    await sharedStack();
    const warning = `warning: another program had 127.0.0.1:8080 when the server started, so it has no URL
For one: bhatti serve stop, then bhatti serve --detach --listen host:port (127.0.0.1:0 takes a free port)
`;
    // What the API writes when it starts and finds its port taken.
    const address = join(dataDirectory, 'run/api.json');
    const before = await readFile(address);
    await writeFile(address, JSON.stringify({ listen: null, taken: '127.0.0.1:8080' }));
    try {
      expect(await run(['serve', '--detach'])).toMatchObject({ exitCode: 0, stderr: warning });
      expect(await ask('serve', 'status')).toMatchObject({ exitCode: 0, stderr: warning });
    } finally {
      await writeFile(address, before);
    }
  });

  test('an API that does not start: the error is what it said, and nothing is left running, whatever other API answers', async () => {
    fresh('broken');
    await mkdir(join(dataDirectory, 'run'), { recursive: true });
    // As one that `serve --role api` runs, with a Redis of its own: a worker of this stack would never see its tasks.
    const health = { status: 200, body: { status: 'ok', version: '0', redis: 'ok' } };
    const other = await serveAnswers(() => health, join(dataDirectory, 'run/api.sock'));
    await writeFile(
      join(dataDirectory, 'run/api.json'),
      JSON.stringify({ pid: process.pid, listen: null, taken: null }),
    );
    const { exitCode, stderr } = await run(['serve', '--detach'], { BHATTI_LISTEN: 'broken' });
    await other.close();
    expect(exitCode).toBe(1);
    expect(stderr.replace(/^starting the local server\.\.\.\n/, '')).toBe(
      `error: the local server does not start: api: the address is broken (start_failed)
The whole log: ${dataDirectory}/run/serve.log
`,
    );
    expect(await ask('serve', 'status')).toMatchObject({ exitCode: 1 });
    await expect(redis(join(dataDirectory, 'run/redis.sock'), 'PING')).rejects.toThrow();
  });

  test('an API that crashes: the error shows the end of the log', async () => {
    fresh('crash');
    const { exitCode, stderr } = await run(['serve', '--detach'], { BHATTI_LISTEN: 'crash' });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^error: the local server does not start \(start_failed\)\n {2}/m);
    expect(stderr).toContain('\n  Error: a crash\n');
    expect(stderr).toContain(`\nThe whole log: ${dataDirectory}/run/serve.log\n`);
  });

  (isRoot ? test : test.skip)('on a full disk: that is told, with the directory, and nothing is left', async () => {
    fresh('full');
    await mkdir(dataDirectory);
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=0700', 'tmpfs', dataDirectory]);
    try {
      const ballast = join(dataDirectory, 'ballast');
      const [attached, detached] = [['serve'], ['serve', '--detach']];
      // With no space, with enough for the lock and the configuration of Redis, and with enough for Redis to start. The server that a
      // command starts is the one that runs attached, whose reason it tells in its own words.
      for (const [room, commands] of [
        [0, [attached, detached]],
        [16_384, [attached]],
        [65_536, [attached, detached]],
      ] as const) {
        await writeFile(ballast, Buffer.alloc(1024 * 1024)).catch(() => undefined);
        await truncate(ballast, (await stat(ballast)).size - room);
        for (const args of commands) {
          const { exitCode, stdout, stderr } = await run(args);
          const message = `error: the disk of the data directory ${dataDirectory} is full (ENOSPC) (disk_full)\nMake room`;
          expect({ exitCode, stdout, stderr }).toMatchObject({ exitCode: 1, stdout: '' });
          expect(stderr.replace(/^starting the local server\.\.\.\n/, '').startsWith(message)).toBe(true);
        }
        expect(await ask('serve', 'status')).toMatchObject({ exitCode: 1 });
        expect((await readdir(join(dataDirectory, 'run'))).filter((name) => name !== 'serve.log')).toEqual([]);
      }
      await rm(ballast);
      const started = await run(['serve', '--detach']);
      expect(started).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(atMostStarting) });
      await ask('serve', 'stop');
    } finally {
      await promisify(execFile)('umount', ['-l', dataDirectory]);
    }
  });

  /** Starts a stack by a command in whose process the script runs first. */
  async function startAfter(script: string) {
    const file = join(dirname(staged.cli), 'first.cjs');
    await writeFile(file, script);
    return run(['serve', '--detach'], { NODE_OPTIONS: `--require ${file}` });
  }

  test('one for which the machine has no process is told as one that does not start', async () => {
    fresh('no-process');
    // Node was replaced meanwhile; a machine with too many processes fails in the same way.
    expect(await startAfter("process.execPath = '/nowhere/node';")).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'error: the local server does not start: spawn /nowhere/node ENOENT (start_failed)\n',
    });
  });

  test('one that runs and does not answer is told by its process, and not as one that does not start', async () => {
    fresh('silent');
    await mkdir(join(dataDirectory, 'run'), { recursive: true });
    // This process passes for the server, until it cannot be stopped.
    const held = await acquirePidLock(join(dataDirectory, 'run/serve.pid'));
    try {
      // The 30 s that a start may take are over in 0.1 s.
      const hurry = 'const now = performance.now.bind(performance); performance.now = () => 300 * now();';
      expect((await startAfter(hurry)).stderr).toContain(
        `error: the local server (pid ${process.pid}) runs, but has not answered for 30 s (start_failed)\nIt may be`,
      );
      const health = { status: 200, body: { status: 'ok', version: '0', redis: 'down' } };
      const api = await serveAnswers(() => health, join(dataDirectory, 'run/api.sock'));
      expect((await startAfter(hurry)).stderr).toContain(
        'error: the local server runs, but its Redis has not answered for 30 s (redis_unavailable)\nSee',
      );
      await api.close();
    } finally {
      if ('lock' in held) await held.lock.release();
    }
  });

  test('with REDIS_URL there is no embedded Redis, and a part can run alone', async () => {
    fresh('external');
    const redisUrl = 'redis://127.0.0.1:1';
    await run(['serve', '--detach', '--workers', '2'], { REDIS_URL: redisUrl });
    const running = await status();
    expect(running.redis).toBe('external');
    expect(running.children.map(({ name }) => name)).toEqual(['api', 'worker 1', 'worker 2']);
    const environment = await readFile(`/proc/${pidOf(running, 'worker 1')}/environ`, 'utf8');
    expect(environment.split('\0')).toContain(`REDIS_URL=${redisUrl}`);
    const alone = await run(['serve', '--role', 'worker']);
    expect(alone).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('--role worker needs REDIS_URL') });
  });

  test('an API that runs alone is shown, and left to whoever started it', async () => {
    fresh('alone');
    const env = environment({ REDIS_URL: 'redis://127.0.0.1:1' });
    const api = staged.start(['serve', '--role', 'api'], { env });
    try {
      await eventually(async () => api.output.stderr.includes('healthy'));
      const { pid } = JSON.parse(await readFile(join(dataDirectory, 'run/api.json'), 'utf8'));
      expect(await ask('serve', 'status')).toMatchObject({
        exitCode: 0,
        stdout: expect.stringMatching(new RegExp(`^state {5}running \\(pid ${pid}\\)\nparts {5}the API alone;`)),
      });
      expect(await ask('serve', 'stop')).toEqual({
        exitCode: 1,
        stdout: '',
        stderr: `error: an API of its own (pid ${pid}) uses this data directory (stop_failed)
Stop it as it was started: with Ctrl+C, or by its service manager.
`,
      });
      expect(lives(pid)).toBe(true);
    } finally {
      api.child.kill('SIGTERM');
      await api.ended;
    }
    expect(await ask('serve', 'status')).toMatchObject({ exitCode: 1 });
    expect(await ask('serve', 'stop')).toMatchObject({ exitCode: 0, stdout: 'not running\n' });
  });

  test('an API of another host that shares the data directory is shown with its host', async () => {
    fresh('elsewhere');
    await mkdir(join(dataDirectory, 'run'), { recursive: true });
    const record = { host: 'storage-2', pid: 7, listen: 'http://10.0.0.2:8080' };
    await writeFile(join(dataDirectory, 'run/api.json'), JSON.stringify(record));
    const { exitCode, stdout } = await ask('serve', 'status', '--json');
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ state: 'running', host: 'storage-2', pid: 7, url: record.listen });
    expect((await ask('serve', 'status')).stdout).toContain('running (pid 7 on storage-2)\n');
    expect(await ask('serve', 'stop')).toMatchObject({
      exitCode: 1,
      stderr: 'error: the server runs on the host storage-2; stop it there (other_host)\n',
    });
  });

  test('an API on its way out after its stack was killed is not one that runs alone', async () => {
    fresh('orphan');
    await mkdir(join(dataDirectory, 'run'), { recursive: true });
    const own = identifyProcess(process.pid);
    await writeFile(join(dataDirectory, 'run/api.json'), JSON.stringify({ pid: process.pid, listen: null }));
    const children = [{ name: 'api', ready: true, process: own }];
    await writeFile(
      join(dataDirectory, 'run/serve.json'),
      JSON.stringify({ supervisor: own, healthy: true, startedAt: '', redis: 'external', children }),
    );
    const health = { status: 200, body: { status: 'ok', version: '0', redis: 'ok' } };
    const api = await serveAnswers(() => health, join(dataDirectory, 'run/api.sock'));
    try {
      expect(await ask('serve', 'status')).toMatchObject({ exitCode: 1 });
      expect(await ask('serve', 'stop')).toMatchObject({ exitCode: 0, stdout: 'not running\n' });
    } finally {
      await api.close();
    }
  });
});
