import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, linkSync, watch } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createLogger } from '@bhatti/logging';
import { openStore } from '@bhatti/store';
import { connectRedis } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Agent, request } from 'undici';
import * as z from 'zod';
import { eventually } from '../../../test/support/eventually.ts';
import { startProtectedRedis } from '../../../test/support/protected-redis.ts';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { startRedisGate } from '../../../test/support/redis-gate.ts';
import { readConfig } from '../config.ts';
import { type RunningApi, startApi } from '../server.ts';
import { putImage } from './support/image.ts';

const program = fileURLToPath(new URL('../../../dist/api.js', import.meta.url));
const record = z.strictObject({
  host: z.string(),
  pid: z.int(),
  listen: z.string().nullable(),
  taken: z.string().nullable(),
  startedAt: z.iso.datetime(),
});

const silent = createLogger({ name: 'api', level: 'silent', destination: { write: () => {} } });

/** The built program, as a process. */
interface Program {
  readonly child: ChildProcess;
  readonly stderr: () => string;
  readonly stdout: () => string;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

describe('the API process', () => {
  let redis: TestRedis;
  let directory: string;
  let programs: Program[];
  beforeAll(async () => {
    redis = await startRedis();
  });
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bhatti-api-process-'));
    programs = [];
  });
  afterEach(async () => {
    for (const { child, ended } of programs) {
      child.kill('SIGKILL');
      await ended;
    }
    await rm(directory, { recursive: true });
  });
  afterAll(() => redis.stop());

  const settings = () => ({ BHATTI_DATA_DIR: directory, REDIS_URL: redis.url, BHATTI_LISTEN: '127.0.0.1:0' });

  function run(
    env: Record<string, string> = {},
    channel: 'ipc' | 'ignore' = 'ignore',
    log: 'pipe' | number = 'pipe',
  ): Program {
    const child = spawn(process.execPath, [program], {
      env: { PATH: process.env.PATH, ...settings(), ...env },
      stdio: ['ignore', 'pipe', log, channel],
    });
    const text = { stdout: '', stderr: '' };
    child.stdout?.on('data', (data) => {
      text.stdout += String(data);
    });
    child.stderr?.on('data', (data) => {
      text.stderr += String(data);
    });
    // Node emits no close once this side has disconnected the channel.
    const ended = once(child, channel === 'ipc' ? 'exit' : 'close').then(([code, signal]) =>
      z.union([z.int(), z.string()]).parse(code ?? signal),
    );
    const started = { child, ended, stderr: () => text.stderr, stdout: () => text.stdout };
    programs.push(started);
    return started;
  }

  /** The API in this process, where it is not the program's signals, streams or exit code that matter. */
  function startHere(env: Record<string, string> = {}): Promise<RunningApi> {
    return startApi(readConfig({ ...settings(), ...env }), env, silent);
  }

  async function readRecord(): Promise<z.infer<typeof record>> {
    return record.parse(JSON.parse(await readFile(join(directory, 'run', 'api.json'), 'utf8')));
  }

  async function untilListening(started: Program): Promise<z.infer<typeof record>> {
    for (;;) {
      const text = await readFile(join(directory, 'run', 'api.json'), 'utf8').catch(() => undefined);
      const found = text === undefined ? undefined : record.parse(JSON.parse(text));
      if (found !== undefined && found.pid === started.child.pid) return found;
      if (started.child.exitCode !== null) throw new Error(`ended: ${started.stderr()}`);
      await sleep(10);
    }
  }

  test('tells where it listens, keeps its files to its owner, and on SIGTERM answers who waits, cleans up and exits 0', async () => {
    const started = run();
    const { listen } = await untilListening(started);
    const modes = ['token', 'secret.key', 'run/api.json', 'run/api.sock', 'run'].map(async (name) => {
      const { mode } = await stat(join(directory, name));
      return [name, (mode & 0o777).toString(8)];
    });
    expect(await Promise.all(modes)).toEqual([
      ['token', '600'],
      ['secret.key', '600'],
      ['run/api.json', '600'],
      ['run/api.sock', '600'],
      ['run', '700'],
    ]);
    const token = (await readFile(join(directory, 'token'), 'utf8')).trim();
    const headers = { authorization: `Bearer ${token}` };
    const queued = await request(`${listen}/images/pull`, { method: 'POST', headers, body: '{"ref":"alpine"}' });
    const body = await queued.body.json();
    expect([queued.statusCode, body]).toEqual([202, expect.objectContaining({ task_id: expect.any(String) })]);
    const { task_id: id } = z.looseObject({ task_id: z.string() }).parse(body);
    const waiting = request(`${listen}/tasks/${id}?wait=60`, { headers });
    // One more request and answer on the same way, so the poll has been received before it.
    await (await request(`${listen}/tasks/${id}`, { headers })).body.dump();
    started.child.kill('SIGTERM');
    const answer = await waiting;
    expect(answer.statusCode).toBe(200);
    expect(await answer.body.json()).toMatchObject({ id, status: 'queued' });
    expect(await started.ended).toBe(0);
    expect(existsSync(join(directory, 'run', 'api.sock'))).toBe(false);
    expect(existsSync(join(directory, 'run', 'api.json'))).toBe(false);
    expect(started.stdout()).toBe('');
    expect(started.stderr()).toContain('"msg":"stopped"');
    for (const line of started.stderr().trim().split('\n')) JSON.parse(line);
  });

  test('writes lines of JSON only, also of what the Redis client warns of; the same problem once', async () => {
    const admin = connectRedis(redis.url, { use: 'request' });
    await admin.call('ACL', 'SETUSER', 'blind', 'on', '>secret', '~*', '&*', '+@all', '-info');
    await admin.config('RESETSTAT');
    const started = run({ REDIS_URL: `redis+unix://blind:secret@${redis.socketPath}` });
    await eventually(() => started.stderr().includes('Skipping the ready check'));
    // Two of its connections ask when they are made; then it asks each second whether the queue can be opened now.
    await eventually(async () => /cmdstat_info:.*rejected_calls=([5-9]|\d\d)/.test(await admin.info('commandstats')));
    admin.disconnect();
    started.child.kill('SIGTERM');
    expect(await started.ended).toBe(0);
    expect(started.stderr().split('cannot be opened')).toHaveLength(2);
    for (const line of started.stderr().trim().split('\n')) JSON.parse(line);
  });

  test('does not tell of a password that nobody has given, as the Redis client does of protected mode', async () => {
    const server = await startProtectedRedis();
    const started = run({ REDIS_URL: server.url });
    await eventually(() => server.refused() > 5);
    started.child.kill('SIGTERM');
    expect(await started.ended).toBe(0);
    await server.close();
    expect(started.stderr()).not.toContain('password was supplied');
  });

  test('does not wait for Redis once it is told to end', async () => {
    const gate = await startRedisGate(redis.socketPath, join(directory, 'gate.sock'));
    try {
      const shut = gate.shut({ when: () => true, onShut: () => {} });
      const started = run({ REDIS_URL: gate.socketPath });
      await shut;
      started.child.kill('SIGTERM');
      expect(await started.ended).toBe(0);
      expect(started.stderr()).toContain('"msg":"stopped"');
      expect(started.stderr()).not.toContain('the API listens');
    } finally {
      await gate.close();
    }
  });

  test('tells where it listens once it can take a pull, also when Redis is slow to answer', async () => {
    const gate = await startRedisGate(redis.socketPath, join(directory, 'gate.sock'));
    const shut = gate.shut({ when: () => true, onShut: () => {} });
    const starting = startHere({ REDIS_URL: gate.socketPath });
    try {
      await shut;
      // An API that does not wait for Redis would be listening by then.
      await sleep(300);
      expect(existsSync(join(directory, 'run', 'api.json'))).toBe(false);
      gate.open();
      await starting;
      const { listen } = await readRecord();
      const headers = { authorization: `Bearer ${(await readFile(join(directory, 'token'), 'utf8')).trim()}` };
      const queued = await request(`${listen}/images/pull`, { method: 'POST', headers, body: '{"ref":"alpine"}' });
      await queued.body.dump();
      expect(queued.statusCode).toBe(202);
    } finally {
      gate.open();
      await (await starting).close();
      await gate.close();
    }
  });

  test('shows each of very many images on its page, and logs nothing that is no line of its log', async () => {
    const store = await openStore(directory);
    const { name } = await putImage(store, { name: 'n-0' });
    const folder = join(directory, 'images');
    const text = await readFile(join(folder, 'local', `${name}.json`), 'utf8');
    const names = Array.from({ length: 100 }, (_, index) => `n-${index}`);
    for (const each of names)
      await writeFile(join(folder, 'local', `${each}.json`), text.replaceAll(`"${name}"`, `"${each}"`));
    // More than four of the API's own pages. Each owner has the same files: to link one takes a tenth of writing it.
    const owners = ['local', ...Array.from({ length: 40 }, (_, index) => `o-${index}`)];
    for (const owner of owners.slice(1)) {
      await mkdir(join(folder, owner));
      for (const each of names) linkSync(join(folder, 'local', `${each}.json`), join(folder, owner, `${each}.json`));
    }
    // Node warns of the fifth listener, not of the eleventh: what each of the API's pages leaves is told of after four of them.
    const fewListeners = 'data:text/javascript,import events from "node:events"; events.defaultMaxListeners = 4;';
    const started = run({ NODE_OPTIONS: `--import ${encodeURI(fewListeners)}` });
    await untilListening(started);
    const agent = new Agent({ connect: { socketPath: join(directory, 'run', 'api.sock') } });
    const page = await (await request('http://localhost/', { dispatcher: agent })).body.text();
    await agent.destroy();
    const shown = page.match(/(?<=<tr data-key=")(local|o-\d+)\/n-\d+(?=")/g);
    expect(new Set(shown)).toEqual(new Set(owners.flatMap((owner) => names.map((each) => `${owner}/${each}`))));
    expect(shown).toHaveLength(owners.length * names.length);
    started.child.kill('SIGTERM');
    await started.ended;
    for (const line of started.stderr().trim().split('\n')) JSON.parse(line);
  });

  test('a second one on the same data directory is refused, and harms nothing; what one that was killed has left is replaced', async () => {
    const first = run();
    await untilListening(first);
    await expect(startHere()).rejects.toThrow(/^another API is running on this data directory/);
    expect(await untilListening(first)).toMatchObject({ pid: first.child.pid });
    const agent = new Agent({ connect: { socketPath: join(directory, 'run', 'api.sock') } });
    expect((await request('http://localhost/health', { dispatcher: agent })).statusCode).toBe(200);
    await agent.destroy();
    first.child.kill('SIGKILL');
    expect(await first.ended).toBe('SIGKILL');
    const third = await startHere();
    expect(await readRecord()).toMatchObject({ pid: process.pid });
    await third.close();
  });

  test('one that cannot listen where it was told to never answers on its socket', async () => {
    const folder = join(directory, 'run');
    await mkdir(folder, { mode: 0o700 });
    const made = new Set<string | null>();
    const watcher = watch(folder, (_event, name) => made.add(name));
    const started = run({ BHATTI_LISTEN: 'nowhere.invalid:18080' });
    expect(await started.ended).toBe(1);
    // What comes last: all that happened before has been told then.
    await writeFile(join(folder, 'last'), '');
    await eventually(() => made.has('last'));
    watcher.close();
    expect(made).not.toContain('api.sock');
    expect(started.stderr()).toMatch(/bhatti api: cannot listen on nowhere.invalid:18080: the host name is not known/);
  });

  test('a default address that another program has is told in the record', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = z.object({ port: z.int() }).parse(other.address());
    const config = readConfig({ BHATTI_DATA_DIR: directory, REDIS_URL: redis.url });
    const listen = { host: '127.0.0.1', port, explicit: false };
    const api = await startApi({ ...config, listen }, {}, silent);
    try {
      expect(await readRecord()).toMatchObject({ listen: null, taken: `127.0.0.1:${port}` });
    } finally {
      await api.close();
      other.close();
    }
  });

  test('ends with the supervisor that started it, whenever that goes', async () => {
    const early = run({}, 'ipc');
    early.child.disconnect();
    expect(await early.ended).toBe(0);
    const started = run({}, 'ipc');
    await untilListening(started);
    started.child.disconnect();
    expect(await started.ended).toBe(0);
    expect(existsSync(join(directory, 'run', 'api.sock'))).toBe(false);
  });

  test('stops soon without Redis, too', async () => {
    const started = run({ REDIS_URL: join(directory, 'nothing.sock'), BHATTI_LISTEN: 'none' });
    expect(await untilListening(started)).toMatchObject({ listen: null });
    started.child.kill('SIGTERM');
    expect(await started.ended).toBe(0);
  });

  test('answers, and ends in order, although its log cannot be written', async () => {
    const full = await open('/dev/full', 'w');
    try {
      const started = run({}, 'ignore', full.fd);
      const { listen } = await untilListening(started);
      const headers = { authorization: `Bearer ${(await readFile(join(directory, 'token'), 'utf8')).trim()}` };
      const queued = await request(`${listen}/images/pull`, { method: 'POST', headers, body: '{"ref":"alpine"}' });
      await queued.body.dump();
      expect(queued.statusCode).toBe(202);
      started.child.kill('SIGTERM');
      expect(await started.ended).toBe(0);
      expect(existsSync(join(directory, 'run', 'api.sock'))).toBe(false);
    } finally {
      await full.close();
    }
  });

  test('does not start with an argument', () => {
    const { status, stderr } = spawnSync(process.execPath, [program, '--listen=0.0.0.0:80'], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: 'bhatti api: no arguments are taken; the settings are environment variables, such as BHATTI_LISTEN\n',
    });
  });

  test('does not start with a key that is none', async () => {
    await expect(startHere({ BHATTI_SECRET_KEY: 'short' })).rejects.toThrow(/^BHATTI_SECRET_KEY does not hold a key/);
  });

  test('refuses a data directory that cannot be used, and says why', async () => {
    await expect(startHere({ BHATTI_DATA_DIR: '/dev/null/x' })).rejects.toThrow(
      /^the data directory \/dev\/null\/x cannot be used/,
    );
  });

  test('refuses the URL of no Redis with a line that says why, without the password in it', async () => {
    const started = run({ REDIS_URL: 'http://user:hunter2@host' });
    expect(await started.ended).toBe(1);
    expect(started.stderr()).toMatch(/^bhatti api: REDIS_URL.*\n$/);
    expect(started.stderr()).not.toContain('hunter2');
  });
});
