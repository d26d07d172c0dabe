import { createHash } from 'node:crypto';
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@bhatti/logging';
import { openStore, type Store } from '@bhatti/store';
import { connectRedis, KEY_PREFIX, layerLease, type RedisClient, TaskClaims, takeLease } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { freeOldPartials, freePartials } from '../housekeeping/partials.ts';

let server: TestRedis;
let redis: RedisClient;
let directory: string;
let store: Store;

beforeAll(async () => {
  server = await startRedis();
  redis = connectRedis(server.url, { use: 'worker' });
  directory = await mkdtemp(join(tmpdir(), 'bhatti-partials-'));
  store = await openStore(directory);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

/** As tasks see them that have not ended for the queue yet. */
const claimsOf = (kind: 'partial' | 'layer' | 'rootfs') => new TaskClaims(redis, kind, () => Promise.resolve(true));

function services() {
  const claims = { partial: claimsOf('partial'), layer: claimsOf('layer'), rootfs: claimsOf('rootfs') };
  return { claims, redis, store, logger: createLogger({ name: 'worker', level: 'silent' }) };
}

/** Frees the partial downloads of a task as a worker does. */
const free = (task: string): Promise<void> => freePartials(services(), task);

/** A partial download that the tasks claim. */
async function partialOf(content: string, tasks: readonly string[]): Promise<string> {
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
  await writeFile(store.partials.path(digest), content);
  for (const task of tasks) await claimsOf('partial').claim(task, [digest]);
  return digest;
}

test('of tasks that end together, one removes the partial download that they shared', async () => {
  for (let round = 0; round < 10; round++) {
    const tasks = [`a${round}`, `b${round}`, `c${round}`];
    const digest = await partialOf(`shared ${round}`, tasks);
    await Promise.all(tasks.map(free));
    expect(await store.partials.has(digest)).toBe(false);
    expect(await redis.keys('*claims*')).toEqual([]);
  }
});

test('what another task wants stays, also while that fetches it', async () => {
  const digest = await partialOf('wanted', ['ends', 'ends-later', 'goes-on']);
  const lease = await takeLease(redis, layerLease(digest), { ttl: 60_000 });
  await free('ends');
  expect(await store.partials.has(digest)).toBe(true);
  expect(await claimsOf('partial').isWanted(digest)).toBe(true);
  await lease?.release();
  await free('ends-later');
  expect(await store.partials.has(digest)).toBe(true);
  await free('goes-on');
  expect(await store.partials.has(digest)).toBe(false);
});

test('one whose lease a dead worker has is removed once that has run out', async () => {
  const digest = await partialOf('orphaned', ['ends']);
  await redis.set(`${KEY_PREFIX}:lease:${layerLease(digest)}`, 'a dead worker', 'PX', 300);
  await free('ends');
  expect(await store.partials.has(digest)).toBe(false);
});

test('what nobody has continued for a week is removed, unless a task wants it', async () => {
  const [old, wanted, fresh] = [
    await partialOf('old', []),
    await partialOf('old, wanted', ['waits']),
    await partialOf('fresh', []),
  ];
  const eightDaysAgo = new Date(Date.now() - 8 * 24 * 3600 * 1000);
  for (const digest of [old, wanted]) await utimes(store.partials.path(digest), eightDaysAgo, eightDaysAgo);
  await freeOldPartials(services());
  expect((await store.partials.list()).sort()).toEqual([wanted, fresh].sort());
});
