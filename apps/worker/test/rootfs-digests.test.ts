import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openStore, type Store } from '@bhatti/store';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { recordDigests } from '../housekeeping/rootfs-digests.ts';

const never = new AbortController().signal;

let directory: string;
let store: Store;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-digests-'));
  store = await openStore(directory);
  for (const key of ['a', 'b', 'c'].map((text) => text.repeat(64))) {
    const rootfs = await store.rootfs.begin(key);
    await writeFile(rootfs.path, key);
    await rootfs.writeRecord({
      sizeBytes: 64,
      allocatedBytes: 4096,
      createdAt: new Date().toISOString(),
      warnings: [],
    });
    await rootfs.publish();
  }
});
afterEach(() => rm(directory, { recursive: true }));

const digestOf = async (key: string) => (await store.rootfs.read(key)).sha256;
const expected = (key: string) => createHash('sha256').update(key).digest('hex');

test('one root filesystem with a bad record does not keep the others from their digests', async () => {
  const [bad = '', ...good] = await store.rootfs.content.digests();
  await writeFile(join(dirname(store.rootfs.path(bad)), 'image.json'), '{');
  await expect(recordDigests(store, never)).rejects.toMatchObject({ code: 'internal' });
  for (const key of good) expect(await digestOf(key)).toBe(expected(key));
});

test('one that is removed meanwhile is no failure, and what has its digest is not read again', async () => {
  const [gone = '', ...others] = await store.rootfs.content.digests();
  const read = store.rootfs.read.bind(store.rootfs);
  jest.spyOn(store.rootfs, 'read').mockImplementationOnce(async (key) => {
    await store.rootfs.content.remove(gone);
    return read(key);
  });
  await recordDigests(store, never);
  for (const key of others) expect(await digestOf(key)).toBe(expected(key));
  for (const key of others) await writeFile(store.rootfs.path(key), 'another');
  await recordDigests(store, never);
  for (const key of others) expect(await digestOf(key)).toBe(expected(key));
});

test('a worker that is told to stop ends it at once, which is no failure', async () => {
  const keys = await store.rootfs.content.digests();
  const last = keys.at(-1) ?? '';
  const stopping = new AbortController();
  const read = store.rootfs.read.bind(store.rootfs);
  jest.spyOn(store.rootfs, 'read').mockImplementation(async (key) => {
    if (key === last) stopping.abort();
    return read(key);
  });
  await recordDigests(store, stopping.signal);
  expect(await digestOf(last)).toBeUndefined();
  for (const key of keys.slice(0, -1)) expect(await digestOf(key)).toBe(expected(key));
});
