/**
 * Where credentials and tokens end up: runs the built command line, its stack and a registry that wants a login, and then searches
 * everything that can be read from outside. That the search would find them is tested first.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KEY_PREFIX, queueKey } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import * as z from 'zod';
import { imageArchive } from './support/archive.ts';
import { atMostStarting, type Bhatti, createBhatti, type RunningCommand } from './support/bhatti.ts';
import { fileLayer } from './support/layer.ts';
import { startRedis } from './support/redis.ts';
import { startRegistry, type TestRegistry } from './support/registry.ts';
import { filePlaces, type Place, placesWith, processPlaces, redisPlaces, unlessGone } from './support/secret-search.ts';

const USER = 'robot';
const PASSWORD = `${randomBytes(9).toString('hex')}/+`;
/** The ways to give the command line credentials, and the API token. The first command starts the stack. */
const SOURCES = ['environment', 'flag', 'stdin'] as const;
type Source = (typeof SOURCES)[number];
/** How the pulls that are held up end. */
const ENDS = ['cancelled', 'crashed'] as const;

let bhatti: Bhatti;
let registry: TestRegistry;
let redis: Redis;
let token: string;
/** Of the stack, once it has been asked for it. */
let url: Promise<string> | undefined;
const outputs: Place[] = [];
const sealed: string[] = [];
interface HeldPull {
  readonly id: string;
  readonly source: Source;
  readonly end: (typeof ENDS)[number];
  readonly command: RunningCommand;
}
const held: HeldPull[] = [];

beforeAll(async () => {
  registry = await startRegistry({ auth: { kind: 'bearer', username: USER, password: PASSWORD } });
  bhatti = await createBhatti({ umask: '000' });
  await mkdir(bhatti.dataDirectory);
  await chmod(bhatti.dataDirectory, 0o755);
  const user = await bhatti.run(['user', 'create', 'alice']);
  token = /bht_\w+/.exec(user.stdout)?.[0] ?? '';
  redis = new Redis(join(bhatti.dataDirectory, 'run', 'redis.sock'), { lazyConnect: true });
});
afterAll(async () => {
  redis?.disconnect();
  await bhatti.remove();
  await registry.close();
});

/** @param held its layer is only sent in part, until the registry is told otherwise */
async function push(name: string, { isHeld = false } = {}): Promise<string> {
  const layers = [await fileLayer({ 'bin/sh': '#!\n', blob: randomBytes(100_000) })];
  const pushed = registry.pushImage({ repository: `private/${name}`, layers });
  if (isHeld) registry.plan({ path: pushed.layers[0]?.digest ?? '', stallAfter: 50_000 });
  return pushed.reference;
}

/** The arguments that name the source on a command line. */
async function given(source: Source): Promise<{ args: string[]; env?: Record<string, string>; stdin?: string }> {
  const login = `${USER}:${PASSWORD}`;
  if (source === 'environment') return { args: [], env: { BHATTI_REGISTRY_AUTH: login } };
  url ??= bhatti.status().then((status) => status.url);
  return source === 'flag'
    ? { args: ['--auth', login, '--url', await url, '--token', token] }
    : { args: ['--auth', '-'], stdin: login, env: { BHATTI_URL: await url, BHATTI_TOKEN: token } };
}

async function pull(source: Source, reference: string, name: string): Promise<RunningCommand> {
  const { args, env, ...options } = await given(source);
  const command = bhatti.start(['image', 'pull', reference, '--name', name, '--size', '16MiB', ...args], {
    ...options,
    env: { BHATTI_LOG_LEVEL: 'trace', BHATTI_CONCURRENCY: '8', ...env },
  });
  void command.outcome.then(({ stdout, stderr }) => outputs.push({ name: `output of ${name}`, text: stdout + stderr }));
  return command;
}

/** Everything that must not be found; of the registry's tokens, those that were used. */
function secrets(): string[] {
  const tokens = registry.requests.flatMap(({ authorization }) => /^Bearer (.+)$/.exec(authorization ?? '')?.[1] ?? []);
  return [PASSWORD, token, ...tokens];
}

const dataOf = (id: string) => redis.hget(queueKey(id), 'data');

async function everyPlace(): Promise<Place[]> {
  const { pid, children } = await bhatti.status();
  const tasks = await bhatti.run(['task', 'list', '--json']);
  return [
    ...outputs,
    { name: 'tasks', text: tasks.stdout },
    ...(await redisPlaces(redis)),
    ...(await filePlaces(bhatti.dataDirectory)),
    ...(await Promise.all([{ name: 'serve', pid }, ...children].map((of) => processPlaces(of.name, of.pid)))).flat(),
  ];
}

test('the search finds a secret in keys of every type, in files and their names, in arguments and environments', async () => {
  const other = await startRedis();
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-secrets-'));
  const client = new Redis(other.socketPath);
  const secret = PASSWORD;
  const coded = (before: string) => Buffer.from(`${before}${secret}:after`).toString('base64');
  await client.set('string', secret);
  await client.hset('hash', 'field', coded(''));
  await client.rpush('list', coded('a'));
  await client.sadd('set', coded('ab'));
  await client.zadd('zset', 1, encodeURIComponent(secret));
  await client.xadd('stream', '*', 'field', secret);
  await client.set(`name-${Buffer.from(secret).toString('hex')}`, '');
  await client.set('innocent', 'x');
  await writeFile(join(directory, 'content'), `${'x'.repeat(100_000)}${secret}`);
  await mkdir(join(directory, Buffer.from(secret).toString('base64url')));
  await writeFile(join(directory, 'innocent'), 'x');
  const child = spawn('sleep', ['60'], { argv0: secret, env: { ...process.env, HIDDEN: secret } });
  await once(child, 'spawn');
  const places = [
    ...(await redisPlaces(client)),
    ...(await filePlaces(directory)),
    ...(await processPlaces('child', child.pid ?? 0)),
  ];
  child.kill();
  client.disconnect();
  await other.stop();
  await rm(directory, { recursive: true });
  const innocent = places.filter(({ name }) => name.endsWith('innocent')).map(({ name }) => name);
  expect(innocent).toHaveLength(2);
  expect(placesWith([secret], places).concat(innocent).sort()).toEqual(places.map(({ name }) => name).sort());
});

test.each(SOURCES)('by %s: tasks that end completed and failed, and two that are held up', async (source) => {
  const completed = await pull(source, await push(`completed-${source}`), `completed-${source}`);
  // The first command starts the stack, and the others wait for that.
  const [failed, ...stalled] = await Promise.all([
    pull(source, `${registry.host}/private/nothing:1`, `failed-${source}`),
    ...ENDS.map(async (end) => {
      const name = `${end}-${source}`;
      const command = await pull(source, await push(name, { isHeld: true }), name);
      const [id = ''] = /tsk_[a-z2-7]{12}/.exec(await command.stdoutHas('downloading layers')) ?? [];
      return { id, end, source, command };
    }),
  ]);
  held.push(...stalled);
  expect(await completed.outcome).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(atMostStarting) });
  expect(await failed.outcome).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('manifest_unknown') });
});

/** The files below the data directory that are not 0600, and the folders that are not 0700. */
async function openToOthers(): Promise<string[]> {
  const open: string[] = [];
  for (const entry of await readdir(bhatti.dataDirectory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const mode = (await unlessGone(stat(path)))?.mode;
    if (mode !== undefined && (mode & 0o777) !== (entry.isDirectory() ? 0o700 : 0o600))
      open.push(`${path}: ${mode.toString(8)}`);
  }
  return open;
}

test('while tasks are under way, credentials are nowhere but in the environment of who was given them there', async () => {
  for (const { id } of held) {
    const data = z.looseObject({ sealedAuth: z.string() }).parse(JSON.parse((await dataOf(id)) ?? ''));
    sealed.push(data.sealedAuth);
  }
  const commands = await Promise.all(held.map(({ command: { child }, id }) => processPlaces(id, child.pid ?? 0)));
  const places = [...(await everyPlace()), ...commands.flat()];
  const environments = held.filter(({ source }) => source !== 'flag').map(({ id }) => `environ of ${id}`);
  expect(placesWith(secrets(), places)).toEqual(environments);
  expect(placesWith(sealed, places).length).toBeGreaterThan(held.length);
  expect(await openToOthers()).toEqual([]);
});

test('when all have ended, also with their worker, credentials and what was sealed of them are nowhere', async () => {
  const { children } = await bhatti.status();
  const crashed = held.filter(({ end }) => end === 'crashed');
  for (const { id, end } of held) if (end === 'cancelled') await bhatti.run(['task', 'cancel', id]);
  for (const { end, command } of held) if (end === 'cancelled') expect((await command.outcome).exitCode).toBe(1);
  // One more death ends the first of them; the others are taken over. What time does to the locks and leases is done here.
  await redis.hset(queueKey(crashed[0]?.id ?? ''), 'stc', 4);
  const victim = children.find(({ name }) => name === 'worker 1')?.pid ?? 0;
  process.kill(victim, 'SIGKILL');
  await redis.del([...crashed.map(({ id }) => `${queueKey(id)}:lock`), queueKey('stalled-check')]);
  await redis.sadd(queueKey('stalled'), ...crashed.map(({ id }) => id));
  for (const lease of await redis.keys(`${KEY_PREFIX}:lease:*`)) await redis.del(lease);
  registry.clearFaults();
  const ends = await Promise.all(crashed.map(({ command }) => command.outcome));
  expect(ends.map(({ exitCode }) => exitCode)).toEqual([1, 0, 0]);
  expect(ends[0]?.stderr).toMatch(new RegExp(`\\(${hostname()}:${victim}, begun at .* \\(worker_crashed\\)`));
  // The snapshot and the rewritten append-only file, uncompressed, so that they can be searched.
  await redis.config('SET', 'rdbcompression', 'no');
  await redis.save();
  await redis.bgrewriteaof();
  while (/aof_rewrite_(in_progress|scheduled):1/.test(await redis.info('persistence'))) await sleep(20);
  for (const { id } of held) while ((await dataOf(id))?.includes('sealedAuth')) await sleep(20);
  const places = await everyPlace();
  expect(placesWith(secrets(), places)).toEqual([]);
  expect(placesWith(sealed, places)).toEqual([]);
});

test('all that was written is its user’s alone, also with a umask of 0, but not the mode of a directory that was there', async () => {
  const archive = `${bhatti.dataDirectory}.tar`;
  const { tar } = await fileLayer({ 'bin/sh': '#!\n' });
  await writeFile(archive, await imageArchive('docker', [{ tags: ['imported:1'], tars: [tar] }]));
  const imported = await bhatti.run(['image', 'import', '--tar', archive, '--name', 'imported', '--size', '16MiB']);
  expect(imported).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await openToOthers()).toEqual([]);
  expect((await stat(bhatti.dataDirectory)).mode & 0o777).toBe(0o755);
  const log = await readFile(join(bhatti.dataDirectory, 'run', 'serve.log'), 'utf8');
  expect(log).toContain('has mode 0755: others can see what is in it; chmod 700 it');
});
