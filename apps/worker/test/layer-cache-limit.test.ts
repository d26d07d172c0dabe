/** What the limit of the layer cache removes, and what it leaves, to the byte. */
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@bhatti/logging';
import { openStore, type Store } from '@bhatti/store';
import { connectRedis, KEY_PREFIX, type RedisClient, TaskClaims } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { LayerCacheLimit } from '../housekeeping/layer-cache-limit.ts';

const LEASE = `${KEY_PREFIX}:lease:layer-eviction`;
const never = new AbortController().signal;

let server: TestRedis;
let redis: RedisClient;
let directory: string;
let store: Store;
let total: number;

beforeAll(async () => {
  server = await startRedis();
  redis = connectRedis(server.url, { use: 'worker' });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
/** Three layers: `a` was used last the longest ago. */
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-limit-'));
  store = await openStore(directory);
  for (const [age, digit] of ['c', 'b', 'a'].entries()) {
    const layer = await store.layers.begin(diffId(digit));
    for (const name of ['data', 'index']) await writeFile(join(layer.directory, name), Buffer.alloc(10_000));
    await layer.publish();
    const used = new Date(Date.now() - (age + 1) * 3600_000);
    await utimes(store.layers.directory(diffId(digit)), used, used);
  }
  total = (await store.layers.list()).reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
});
afterEach(async () => {
  jest.restoreAllMocks();
  await redis.del(LEASE);
  await rm(directory, { recursive: true });
});

const diffId = (digit: string) => `sha256:${digit.repeat(64)}`;

async function left(): Promise<string> {
  const digits = (await store.layers.list()).map(({ hex }) => hex.slice(0, 1));
  return digits.sort().join('');
}

function limitOf(limit: number): LayerCacheLimit {
  const logger = createLogger({ name: 'worker', level: 'silent' });
  return new LayerCacheLimit({ store, redis, claims: new TaskClaims(redis, 'layer', async () => true), limit, logger });
}

test('a cache that is as large as it may be keeps all; of one that is larger go as many as have to', async () => {
  await limitOf(Number.POSITIVE_INFINITY).enforce();
  await limitOf(total).enforce();
  expect(await left()).toBe('abc');
  await limitOf(total - 1).enforce();
  expect(await left()).toBe('bc');
  await limitOf(1).enforce();
  expect(await left()).toBe('');
  expect(await redis.exists(LEASE)).toBe(0);
});

test('nothing goes while another process brings the cache below its limit', async () => {
  await redis.set(LEASE, 'another');
  await limitOf(0).enforce();
  expect(await left()).toBe('abc');
});

test('room is made where there is none, with as many layers as that takes, and not where all would not be enough', async () => {
  jest.spyOn(store, 'freeBytes').mockImplementation(async () => 1000 + total - (await sizeOfAll()));
  await limitOf(0).makeRoom(1000, never);
  await limitOf(0).makeRoom(1000 + total + 1, never);
  expect(await left()).toBe('abc');
  await limitOf(0).makeRoom(1001, never);
  expect(await left()).toBe('bc');
  await limitOf(0).makeRoom(1000 + total, never);
  expect(await left()).toBe('');
  expect(await redis.exists(LEASE)).toBe(0);
});

async function sizeOfAll(): Promise<number> {
  return (await store.layers.list()).reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
}

test('a task that is stopped does not wait for another process that makes room', async () => {
  jest.spyOn(store, 'freeBytes').mockResolvedValue(0);
  await redis.set(LEASE, 'another');
  const stop = new AbortController();
  const made = limitOf(0).makeRoom(1, stop.signal);
  stop.abort(new Error('stopped'));
  await expect(made).rejects.toThrow('stopped');
  expect(await left()).toBe('abc');
});

test('of the layers that nobody has used for a day, one that cannot be read now is not taken for one of another version', async () => {
  const unreadable = store.layers.directory(diffId('d'));
  await mkdir(unreadable);
  await writeFile(join(unreadable, 'data'), '');
  // Linux lets nobody read this one, root neither.
  await symlink('/proc/sys/net/ipv4/route/flush', join(unreadable, 'index'));
  const long = new Date(Date.now() - 25 * 3600_000);
  for (const digit of ['a', 'd']) await utimes(store.layers.directory(diffId(digit)), long, long);
  await limitOf(0).removeOutdated();
  expect(await left()).toBe('bcd');
});
