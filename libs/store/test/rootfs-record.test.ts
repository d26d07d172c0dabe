import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { openStore, type Store } from '../index.ts';
import { hexOf, publishRootfs, record, temporaryDirectory, unfinishedIn } from './support/fixture.ts';

const key = hexOf('a root filesystem');
const digested = { ...record, sha256: hexOf('ext4') };
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let store: Store;

beforeEach(async () => {
  directory = await temporaryDirectory();
  store = await openStore(directory.path);
  await publishRootfs(store, key);
});
afterEach(() => directory.remove());

test('a record takes the place of the one that was read', async () => {
  expect(await store.rootfs.replaceRecord(key, await store.rootfs.read(key), digested)).toBe(true);
  expect(await store.rootfs.read(key)).toEqual(digested);
});

test('what a later version has added to a record stays in it', async () => {
  const later = { ...record, of_a_later_version: 1 };
  expect(await store.rootfs.replaceRecord(key, record, later)).toBe(true);
  const present = await store.rootfs.read(key);
  expect(await store.rootfs.replaceRecord(key, present, { ...present, sha256: hexOf('ext4') })).toBe(true);
  expect(await store.rootfs.read(key)).toEqual({ ...later, sha256: hexOf('ext4') });
});

test('a record that is damaged is told of, and not as one of a root filesystem that is gone', async () => {
  await writeFile(join(store.rootfs.content.path(key), 'image.json'), '{');
  await expect(store.rootfs.replaceRecord(key, record, digested)).rejects.toMatchObject({ code: 'internal' });
  expect(await unfinishedIn(store.rootfs.content.path(key))).toEqual([]);
});

test('but not of that of a root filesystem that was built anew, or is gone', async () => {
  const present = await store.rootfs.read(key);
  const anew = { ...record, createdAt: '2026-01-02T03:05:00.000Z' };
  const rootfs = await store.rootfs.begin(key);
  await writeFile(rootfs.path, 'other');
  await rootfs.writeRecord(anew);
  await rootfs.publish({ replace: true });
  expect(await store.rootfs.replaceRecord(key, present, digested)).toBe(false);
  expect(await store.rootfs.read(key)).toEqual(anew);
  expect(await unfinishedIn(store.rootfs.content.path(key))).toEqual([]);

  await store.rootfs.content.remove(key);
  expect(await store.rootfs.replaceRecord(key, anew, digested)).toBe(false);
  expect(await store.rootfs.has(key)).toBe(false);
});
