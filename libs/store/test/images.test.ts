import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { removeUnreferencedRootfs } from '../garbage.ts';
import { openStore, type Store } from '../index.ts';
import { digestOf, hexOf, imageEntry, publishRootfs, record, temporaryDirectory } from './support/fixture.ts';

const key = hexOf('a root filesystem');
const otherKey = hexOf('another root filesystem');

describe('the image catalog', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
    await publishRootfs(store, key);
    await publishRootfs(store, otherKey);
  });
  afterEach(() => directory.remove());

  test('keeps names for each owner', async () => {
    await store.images.put('ann', imageEntry('python-3.12', key));
    await store.images.put('ann', imageEntry('Alpine', otherKey));
    await store.images.put('bob', imageEntry('python-3.12', otherKey));
    expect((await store.images.list('ann')).map(({ name }) => name)).toEqual(['Alpine', 'python-3.12']);
    expect(await store.images.get('ann', 'python-3.12')).toEqual(imageEntry('python-3.12', key));
    expect((await store.images.get('bob', 'python-3.12'))?.rootfsKey).toBe(otherKey);
    expect(await store.images.list('eve')).toEqual([]);
    expect(await store.images.get('eve', 'python-3.12')).toBeNull();
    expect(await store.images.owners()).toEqual(['ann', 'bob']);
  });

  test('lets a name stand for another image, and for none', async () => {
    await store.images.put('ann', imageEntry('python', key));
    await store.images.put('ann', imageEntry('python', otherKey));
    expect((await store.images.get('ann', 'python'))?.rootfsKey).toBe(otherKey);
    expect(await store.images.delete('ann', 'python')).toBe(true);
    expect(await store.images.delete('ann', 'python')).toBe(false);
    expect(await store.images.list('ann')).toEqual([]);
  });

  test('rejects with the very error of who did not confirm: what it means is not for the store to say', async () => {
    const refusal = Object.assign(new Error('LOADING Redis is loading the dataset in memory'), { name: 'ReplyError' });
    await expect(store.images.put('ann', imageEntry('python', key), () => Promise.reject(refusal))).rejects.toBe(
      refusal,
    );
  });

  test('gives a name only if that is confirmed when everything else is done', async () => {
    await store.images.put('ann', imageEntry('python', key));
    const refused = store.images.put('ann', imageEntry('python', otherKey), async () => {
      throw new Error('the task is another worker’s');
    });
    await expect(refused).rejects.toThrow('another worker’s');
    expect((await store.images.get('ann', 'python'))?.rootfsKey).toBe(key);
    expect(await readdir(join(directory.path, 'images', 'ann'))).toEqual(['python.json']);
    await store.images.put('ann', imageEntry('python', otherKey), async () => {});
    expect((await store.images.get('ann', 'python'))?.rootfsKey).toBe(otherKey);
  });

  test('keeps its files private', async () => {
    await store.images.put('ann', imageEntry('python', key));
    expect((await stat(join(directory.path, 'images', 'ann'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory.path, 'images', 'ann', 'python.json'))).mode & 0o777).toBe(0o600);
  });

  test('lists no image that is not whole', async () => {
    await store.images.put('ann', imageEntry('whole', key));
    await store.images.put('ann', imageEntry('gone', otherKey));
    await store.rootfs.content.remove(otherKey);
    const folder = join(directory.path, 'images', 'ann');
    await writeFile(join(folder, 'cut.json'), '{"name": "cut", ');
    await writeFile(join(folder, 'foreign.json'), '{"name": "foreign"}');
    await writeFile(join(folder, 'renamed.json'), JSON.stringify(imageEntry('whole', key)));
    expect((await store.images.list('ann')).map(({ name }) => name)).toEqual(['whole']);
    for (const name of ['gone', 'cut', 'foreign', 'renamed']) expect(await store.images.get('ann', name)).toBeNull();
  });

  test('takes no image whose root filesystem is not there, and keeps the old one', async () => {
    await store.images.put('ann', imageEntry('python', key));
    const putting = store.images.put('ann', imageEntry('python', hexOf('never built')));
    await expect(putting).rejects.toMatchObject({ code: 'not_found', retryable: true });
    expect((await store.images.get('ann', 'python'))?.rootfsKey).toBe(key);
  });

  test('shows an old entry or a new one, never half of one', async () => {
    await store.images.put('ann', imageEntry('python', key));
    let writing = true;
    const writes = Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        store.images.put('ann', imageEntry('python', index % 2 ? key : otherKey)),
      ),
    ).finally(() => {
      writing = false;
    });
    while (writing) {
      expect([key, otherKey]).toContain((await store.images.get('ann', 'python'))?.rootfsKey);
      expect(await store.images.list('ann')).toHaveLength(1);
    }
    await writes;
    expect(await readdir(join(directory.path, 'images', 'ann'))).toEqual(['python.json']);
  });
});

describe('root filesystems', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
  });
  afterEach(() => directory.remove());

  test('are there with their record once published', async () => {
    await expect(store.rootfs.read(key)).rejects.toMatchObject({ code: 'not_found' });
    await publishRootfs(store, key);
    expect(await store.rootfs.has(key)).toBe(true);
    expect(await store.rootfs.read(key)).toEqual(record);
    expect(store.rootfs.path(key)).toBe(join(directory.path, 'rootfs', 'sha256', key, 'rootfs.ext4'));
  });

  test('are not published without their record', async () => {
    const rootfs = await store.rootfs.begin(key);
    await writeFile(rootfs.path, 'ext4');
    await expect(rootfs.publish()).rejects.toMatchObject({ code: 'internal' });
    await rootfs.discard();
    expect(await store.rootfs.has(key)).toBe(false);
  });

  test('are removed when no image of any owner points to them', async () => {
    await publishRootfs(store, key);
    await publishRootfs(store, otherKey);
    await store.images.put('ann', imageEntry('one', key));
    await store.images.put('bob', imageEntry('two', key));
    expect(await store.removeUnreferenced()).toEqual([]);
    expect(await store.removeUnreferenced({ graceMs: 0 })).toEqual([otherKey]);
    await store.images.delete('ann', 'one');
    expect(await store.removeUnreferenced({ graceMs: 0 })).toEqual([]);
    await store.images.delete('bob', 'two');
    expect(await store.removeUnreferenced({ graceMs: 0 })).toEqual([key]);
    expect(await readdir(join(directory.path, 'rootfs', 'sha256'))).toEqual([]);
  });

  test('that get a name between the look at the catalog and the removal are put back', async () => {
    await publishRootfs(store, key);
    let looks = 0;
    const images = {
      referencedKeys: async () => {
        const keys = await store.images.referencedKeys();
        looks += 1;
        if (looks === 1) await store.images.put('ann', imageEntry('late', key));
        return keys;
      },
    };
    expect(await removeUnreferencedRootfs(store.rootfs, images, { graceMs: 0 })).toEqual([]);
    expect(looks).toBe(2);
    expect(await store.images.get('ann', 'late')).not.toBeNull();
    expect((await stat(store.rootfs.path(key))).isFile()).toBe(true);
  });

  test('that got their name for sure are never taken away by a collection at the same time', async () => {
    for (let round = 0; round < 150; round += 1) {
      await publishRootfs(store, key);
      const name = `round-${round}`;
      const [put] = await Promise.allSettled([
        store.images.put('ann', imageEntry(name, key)),
        sleep(round % 8).then(() => store.removeUnreferenced({ graceMs: 0 })),
        sleep(round % 5).then(() => store.removeUnreferenced({ graceMs: 0 })),
      ]);
      if (put.status === 'fulfilled') {
        expect(await store.images.get('ann', name)).not.toBeNull();
        expect((await stat(store.rootfs.path(key))).isFile()).toBe(true);
      } else {
        expect(put.reason).toMatchObject({ code: 'not_found', retryable: true });
      }
      await store.images.delete('ann', name);
      await store.removeUnreferenced({ graceMs: 0 });
    }
  });
});

test('partial downloads have their size and go when told', async () => {
  const directory = await temporaryDirectory();
  const { partials } = await openStore(directory.path);
  const digest = digestOf('a blob');
  expect(await partials.size(digest)).toBe(0);
  await writeFile(partials.path(digest), 'bytes');
  expect(await partials.size(digest)).toBe(5);
  await partials.remove(digest);
  await partials.remove(digest);
  expect(await partials.size(digest)).toBe(0);
  await directory.remove();
});
