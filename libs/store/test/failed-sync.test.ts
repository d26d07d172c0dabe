/**
 * A disk that does not take what was written: fsync(2) says so once. A sync after that succeeds, and what was lost stays lost, so
 * here it fails once, too.
 */
import { existsSync, type RmOptions, type WriteFileOptions } from 'node:fs';
import * as real from 'node:fs/promises';
import { constants } from 'node:os';
import { join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { getSystemErrorName } from 'node:util';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Store } from '../index.ts';
import {
  digestOf,
  hexOf,
  imageEntry,
  publishLayer,
  publishRootfs,
  record,
  temporaryDirectory,
} from './support/fixture.ts';

type Name = 'EDQUOT' | 'EIO' | 'EMFILE' | 'ENOSPC' | 'EROFS';

/** By the path, the error of the next sync of it, and of every look at it. */
const failures = new Map<string, Name>();
/** What another process does while a sync fails. */
let meanwhile = async () => {};
/** Whether nothing can be renamed: the disk is read-only by now. */
let isReadOnly = false;
/** What was brought to the disk, renamed and removed, in this order. */
let steps: string[] = [];
/** Whether nothing can be removed for the moment. */
let isBusy = false;
/** What cannot be opened for the moment. */
let unopenable = '';
/** Whether there is room for names of files, but for no content. */
let isFull = false;

/** As Node makes it: it has not for all of the system's a name. */
function systemError(name: Name, syscall: string): Error {
  const errno = -constants.errno[name];
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${code}: ${syscall}`), { code, errno, syscall });
}

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  open: async (path: string, ...options: [string, number]) => {
    if (path === unopenable) throw systemError('EIO', 'open');
    const handle = await real.open(path, ...options);
    const code = failures.get(path);
    const sync = handle.sync.bind(handle);
    handle.sync = async () => {
      failures.delete(path);
      if (code !== undefined) {
        await meanwhile();
        throw systemError(code, 'fsync');
      }
      await sync();
      steps.push(`sync ${path}`);
    };
    return handle;
  },
  rename: async (from: string, to: string) => {
    if (isReadOnly) throw systemError('EROFS', 'rename');
    await real.rename(from, to);
    steps.push(`rename ${from} ${to}`);
  },
  rm: async (path: string, options: RmOptions) => {
    if (isBusy) throw systemError('EIO', 'unlink');
    await real.rm(path, options);
    steps.push(`rm ${path}`);
  },
  writeFile: async (path: string, ...given: [string, WriteFileOptions]) => {
    await real.writeFile(path, ...given);
    if (isFull) throw systemError('ENOSPC', 'write');
  },
  stat: async (path: string) => {
    const code = failures.get(path);
    if (code !== undefined) throw systemError(code, 'stat');
    return real.stat(path);
  },
}));
const { evictLayer, openStore } = await import('../index.ts');

const diffId = digestOf('a layer');
const other = digestOf('another layer');
const key = hexOf('a root filesystem');

describe('what the disk does not take', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
    await publishLayer(store, diffId);
  });
  afterEach(async () => {
    isReadOnly = false;
    isBusy = false;
    isFull = false;
    unopenable = '';
    meanwhile = async () => {};
    failures.clear();
    await directory.remove();
  });

  const failSync = (code: Name) => failures.set(join(store.layers.directory(diffId), 'data'), code);

  test.each(['EIO', 'ENOSPC', 'EDQUOT'] as const)('is removed (%s), and never taken for synced', async (code) => {
    failSync(code);
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'disk_failed' });
    expect(await store.layers.has(diffId)).toBe(false);
    await store.syncPending();
  });

  test('is no image any more', async () => {
    await publishRootfs(store, key);
    await store.images.put('local', imageEntry('python', key));
    failures.set(store.rootfs.path(key), 'EIO');
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'disk_failed' });
    expect(await store.images.list('local')).toEqual([]);
  });

  test('keeps nothing else from being synced', async () => {
    await publishRootfs(store, key);
    await publishLayer(store, other);
    failures.set(store.rootfs.path(key), 'EIO');
    failSync('EIO');
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'disk_failed' });
    expect(await store.layers.has(other)).toBe(true);
    expect(existsSync(join(store.layers.directory(other), 'unsynced'))).toBe(false);
  });

  test('is not looked for in what another process has put in its place', async () => {
    failSync('EIO');
    isReadOnly = true;
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'not_writable' });
    isReadOnly = false;
    const another = await openStore(directory.path);
    await another.layers.remove(diffId);
    await publishLayer(another, diffId);
    await store.syncPending();
    expect(await store.layers.has(diffId)).toBe(true);
  });

  test('is removed where it is, and not what another process puts in its place while the sync fails', async () => {
    const another = await openStore(directory.path);
    meanwhile = async () => {
      await another.layers.remove(diffId);
      await publishLayer(another, diffId);
    };
    failSync('EIO');
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'disk_failed' });
    expect(await store.layers.has(diffId)).toBe(true);
  });

  test('is removed later where it cannot be now, and what was published in its place stays', async () => {
    failSync('EIO');
    isReadOnly = true;
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'not_writable' });
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'not_writable' });
    isReadOnly = false;
    await store.syncPending();
    expect(await store.layers.has(diffId)).toBe(false);

    await publishLayer(store, diffId);
    failSync('EIO');
    isReadOnly = true;
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'not_writable' });
    isReadOnly = false;
    await store.layers.remove(diffId);
    await publishLayer(store, diffId);
    await store.syncPending();
    expect(await store.layers.has(diffId)).toBe(true);
  });

  test('stays where it is the look at it that failed', async () => {
    failSync('EMFILE');
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'out_of_resources', retryable: true });
    expect(await store.layers.has(diffId)).toBe(true);
    await store.syncPending();
    expect(existsSync(join(store.layers.directory(diffId), 'unsynced'))).toBe(false);
  });

  test('is not what cannot be opened: that may be on the disk, and stays', async () => {
    unopenable = join(store.layers.directory(diffId), 'data');
    await expect(store.syncPending()).rejects.toMatchObject({ code: 'disk_failed', retryable: true });
    expect(await store.layers.has(diffId)).toBe(true);
    unopenable = '';
    await store.syncPending();
    expect(existsSync(join(store.layers.directory(diffId), 'unsynced'))).toBe(false);
  });

  test('of a process that died is tried again by the next, too', async () => {
    const next = await openStore(directory.path);
    failSync('EMFILE');
    await expect(next.syncPending()).rejects.toMatchObject({ code: 'out_of_resources' });
    await next.syncPending();
    expect(existsSync(join(store.layers.directory(diffId), 'unsynced'))).toBe(false);
  });

  test('is left to housekeeping where it cannot be removed, and not to the end of this process', async () => {
    const evicted = digestOf('an evicted layer');
    await publishLayer(store, evicted);
    isBusy = true;
    await expect(store.layers.remove(diffId)).rejects.toMatchObject({ code: 'disk_failed' });
    await expect(evictLayer(store.layers, evicted, async () => false)).rejects.toMatchObject({ code: 'disk_failed' });
    const unfinished = await store.layers.begin(other);
    await expect(unfinished.discard()).rejects.toMatchObject({ code: 'disk_failed' });
    isBusy = false;
    expect(await real.readdir(store.layers.content.folder)).toHaveLength(3);
    await store.collectOrphans();
    expect(await real.readdir(store.layers.content.folder)).toEqual([]);
  });

  test('of an upload leaves nothing of it, also where its name is there already', async () => {
    const folder = join(directory.path, 'uploads');
    failures.set(folder, 'EIO');
    const receiving = store.uploads.receive('tsk_a', Readable.from([Buffer.from('archive')]));
    await expect(receiving).rejects.toMatchObject({ code: 'disk_failed', retryable: true });
    expect(await real.readdir(folder)).toEqual([]);
  });

  test('of a lock leaves nothing of it', async () => {
    const before = await real.readdir(directory.path);
    isFull = true;
    await expect(store.users.create('ann', 'user')).rejects.toMatchObject({ code: 'no_space' });
    expect(await real.readdir(directory.path)).toEqual(before);
  });

  test('is told as what failed first, where what was written cannot be removed either', async () => {
    await publishRootfs(store, key);
    isReadOnly = true;
    isBusy = true;
    await expect(store.images.put('ann', imageEntry('python', key))).rejects.toMatchObject({ code: 'not_writable' });
    const layer = await store.layers.begin(other);
    await expect(layer.discard()).rejects.toMatchObject({ code: 'disk_failed' });
  });

  test('is not told as an image that was not there, and is to be deleted', async () => {
    await publishRootfs(store, key);
    await store.images.put('ann', imageEntry('python', key));
    isReadOnly = true;
    const deleting = store.images.delete('ann', 'python', async () => {});
    await expect(deleting).rejects.toMatchObject({ code: 'not_writable' });
    expect(await store.images.get('ann', 'python')).not.toBeNull();
  });

  test('is not told as files that are missing', async () => {
    const layer = await store.layers.begin(other);
    for (const name of ['data', 'index']) await real.writeFile(join(layer.directory, name), name);
    failures.set(join(layer.directory, 'index'), 'EIO');
    await expect(layer.publish()).rejects.toMatchObject({ code: 'disk_failed', retryable: true });
    const rootfs = await store.rootfs.begin(key);
    await real.writeFile(rootfs.path, 'ext4');
    await rootfs.writeRecord(record);
    failures.set(rootfs.path, 'EIO');
    await expect(rootfs.publish()).rejects.toMatchObject({ code: 'disk_failed', retryable: true });
  });
});

describe('what is to outlive a power loss', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
    await publishRootfs(store, key);
    await store.syncPending();
  });
  afterEach(() => directory.remove());

  /** The steps of a change, by paths below the data directory; each temporary name is `.tmp`. */
  async function stepsOf(change: () => Promise<unknown>): Promise<string[]> {
    steps = [];
    await change();
    const short = (path: string) => relative(directory.path, path).replace(/\.tmp~[^/]*/, '.tmp');
    return steps.map((step) => step.replace(/\/\S+/g, short));
  }

  test('is a small file: it is on the disk before it has its name, and the name before anybody is told', async () => {
    expect(await stepsOf(() => store.images.put('ann', imageEntry('python', key)))).toEqual([
      'sync images/ann/.tmp',
      'rename images/ann/.tmp images/ann/python.json',
      'sync images/ann',
    ]);
    const rootfs = `rootfs/sha256/${key}`;
    expect(await stepsOf(() => store.rootfs.replaceRecord(key, record, { ...record, warnings: [] }))).toEqual([
      `sync ${rootfs}/.tmp`,
      `rename ${rootfs}/.tmp ${rootfs}/image.json`,
      `sync ${rootfs}`,
    ]);
    expect(await stepsOf(() => store.uploads.receive('tsk_a', Readable.from([Buffer.from('archive')])))).toEqual([
      'sync uploads/.tmp',
      'rename uploads/.tmp uploads/tsk_a',
      'sync uploads',
    ]);
  });

  test('is that a name is gone', async () => {
    for (const confirm of [undefined, async () => {}]) {
      await store.images.put('ann', imageEntry('python', key));
      const deleting = await stepsOf(() => store.images.delete('ann', 'python', confirm));
      expect(deleting[0]).toMatch(/^(rm|rename) images\/ann\/python\.json/);
      expect(deleting[1]).toBe('sync images/ann');
    }
  });

  test('is a root filesystem before a layer, which can be fetched again', async () => {
    await publishLayer(store, diffId);
    await publishRootfs(store, other);
    const kinds = (await stepsOf(() => store.syncPending())).map((step) => /(rootfs|layers)\//.exec(step)?.[1]);
    expect(kinds.indexOf('layers')).toBeGreaterThan(kinds.lastIndexOf('rootfs'));
  });

  test('is content: its files, their folder and its name, before the word that they may be lost goes', async () => {
    await publishLayer(store, diffId);
    const layer = `layers/sha256/${hexOf('a layer')}`;
    const syncing = await stepsOf(() => store.syncPending());
    expect(syncing.slice(0, 3).sort()).toEqual(['data', 'index', 'unsynced'].map((name) => `sync ${layer}/${name}`));
    expect(syncing.slice(3)).toEqual([`sync ${layer}`, 'sync layers/sha256', `rm ${layer}/unsynced`, `sync ${layer}`]);
  });
});
