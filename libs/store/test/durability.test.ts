import { mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { openStore, type Store } from '../index.ts';
import { ownIdentity } from '../process-identity.ts';
import { temporaryName } from '../temporary-name.ts';
import { digestOf, hexOf, imageEntry, publishLayer, publishRootfs, temporaryDirectory } from './support/fixture.ts';

const diffId = digestOf('a layer');
const key = hexOf('a root filesystem');

describe('published files that are not synced', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;
  let marker: string;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
    await publishLayer(store, diffId);
    marker = join(store.layers.directory(diffId), 'unsynced');
  });
  afterEach(() => directory.remove());

  const exists = (path: string) =>
    stat(path).then(
      () => true,
      () => false,
    );

  test('say where and when they were written, until they are synced', async () => {
    const { host, bootId } = await ownIdentity();
    expect(JSON.parse(await readFile(marker, 'utf8'))).toEqual({ host, bootId });
    await store.syncPending();
    expect(await exists(marker)).toBe(false);
    await publishRootfs(store, key);
    await store.syncPending();
    await store.syncPending();
    expect(await exists(join(directory.path, 'rootfs', 'sha256', key, 'unsynced'))).toBe(false);
  });

  test('of a process that died are synced by the next', async () => {
    const next = await openStore(directory.path);
    expect(await next.layers.has(diffId)).toBe(true);
    await next.syncPending();
    expect(await exists(marker)).toBe(false);
  });

  test('of a process that died are synced by one that has run all the while, once it collects what the dead have left', async () => {
    const running = await openStore(directory.path);
    await running.syncPending();
    await publishRootfs(store, key);
    const left = join(directory.path, 'rootfs', 'sha256', key, 'unsynced');
    await running.syncPending();
    expect(await exists(left)).toBe(true);
    await running.collectOrphans();
    await running.syncPending();
    expect(await exists(left)).toBe(false);
  });

  test('may be removed while they are to be synced', async () => {
    await store.syncPending();
    await publishLayer(store, digestOf('another'));
    await (await openStore(directory.path)).layers.remove(digestOf('another'));
    await store.syncPending();
  });

  test('are gone after this machine went down', async () => {
    await publishRootfs(store, key);
    await store.images.put('local', imageEntry('python', key));
    const { host } = await ownIdentity();
    for (const path of [marker, join(directory.path, 'rootfs', 'sha256', key, 'unsynced')]) {
      await writeFile(path, JSON.stringify({ host, bootId: 'an-earlier-boot' }));
    }
    const next = await openStore(directory.path);
    expect(await next.layers.has(diffId)).toBe(false);
    expect(await next.rootfs.has(key)).toBe(false);
    expect(await next.images.list('local')).toEqual([]);
    expect(await next.images.get('local', 'python')).toBeNull();
  });

  test('are gone when not even the marker is whole', async () => {
    await writeFile(marker, '');
    expect(await (await openStore(directory.path)).layers.has(diffId)).toBe(false);
  });

  test('are not taken for synced where the marker cannot be read', async () => {
    await rm(marker);
    await mkdir(marker);
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'internal' });
    expect(await exists(marker)).toBe(true);
  });

  test('are synced beside a record that is being written, which is not waited for', async () => {
    await publishRootfs(store, key);
    const folder = join(directory.path, 'rootfs', 'sha256', key);
    // A link to nothing stands for a file that is gone by the time it is opened.
    await symlink('nothing', join(folder, temporaryName(await ownIdentity())));
    await store.syncPending();
    expect(await exists(join(folder, 'unsynced'))).toBe(false);
  });

  test('of another container of this machine are synced, too', async () => {
    const { bootId } = await ownIdentity();
    await writeFile(marker, JSON.stringify({ host: 'another-container', bootId }));
    await (await openStore(directory.path)).syncPending();
    expect(await exists(marker)).toBe(false);
  });

  test('of another machine are that machine’s to sync', async () => {
    await writeFile(marker, JSON.stringify({ host: 'elsewhere', bootId: 'whichever' }));
    const next = await openStore(directory.path);
    await next.syncPending();
    expect(await next.layers.has(diffId)).toBe(true);
    expect(await exists(marker)).toBe(true);
  });
});
