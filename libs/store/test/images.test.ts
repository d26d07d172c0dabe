import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, readlink, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { writeEntry } from '../fenced-entry.ts';
import { removeUnreferencedRootfs } from '../garbage.ts';
import { openStore, type Store } from '../index.ts';
import { ownIdentity } from '../process-identity.ts';
import { temporaryName } from '../temporary-name.ts';
import { digestOf, hexOf, imageEntry, publishRootfs, record, temporaryDirectory } from './support/fixture.ts';

const key = hexOf('a root filesystem');
const otherKey = hexOf('another root filesystem');
const nobody = async () => false;
/** What a descriptor of this process stands for; nothing when it is closed by now. */
const pathOfOpenFile = (descriptor: string) => readlink(`/proc/self/fd/${descriptor}`).catch(() => '');

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

  test('are told in order, and from a name on, which need not be there', async () => {
    const names = ['zig', 'alpine', 'node', 'Ruby', 'debian', 'go', 'python-3', 'python', 'busybox'];
    for (const name of names) {
      await store.images.put('ann', imageEntry(name, key));
      await store.images.put(name, imageEntry('python', key));
    }
    expect((await store.images.list('ann')).map(({ name }) => name)).toEqual(names.toSorted());
    expect(await store.images.owners()).toEqual(['ann', ...names].toSorted());
    for (const first of ['node', 'mysql']) {
      const found: string[] = [];
      for await (const { name } of store.images.startingAt('ann', first)) found.push(name);
      expect(found).toEqual(['node', 'python', 'python-3', 'zig']);
    }
  });

  test('lets a name stand for another image, and for none', async () => {
    await store.images.put('ann', imageEntry('python', key));
    await store.images.put('ann', imageEntry('python', otherKey));
    expect((await store.images.get('ann', 'python'))?.rootfsKey).toBe(otherKey);
    expect(await store.images.delete('ann', 'python')).toBe(true);
    expect(await store.images.delete('ann', 'python')).toBe(false);
    expect(await store.images.list('ann')).toEqual([]);
  });

  test('puts an entry only in the place of the one that it was made of', async () => {
    const entry = imageEntry('python', key);
    expect(await store.images.replace('ann', null, entry)).toBe(true);
    expect(await store.images.replace('ann', null, imageEntry('python', otherKey))).toBe(false);
    const shared = { ...entry, shared: true };
    const pulledMeanwhile = () => store.images.put('ann', imageEntry('python', otherKey));
    expect(await store.images.replace('ann', entry, shared, pulledMeanwhile)).toBe(false);
    expect(await store.images.get('ann', 'python')).toEqual(imageEntry('python', otherKey));
    await store.images.put('ann', entry);
    const deletedMeanwhile = async () => void (await store.images.delete('ann', 'python'));
    expect(await store.images.replace('ann', entry, shared, deletedMeanwhile)).toBe(false);
    expect(await store.images.get('ann', 'python')).toBeNull();
    // That it failed is not that the name has moved.
    const neverBuilt = imageEntry('python', hexOf('never built'));
    await expect(store.images.replace('ann', null, neverBuilt)).rejects.toMatchObject({ code: 'not_found' });
    const invalid = { ...entry, sizeBytes: -1 };
    await expect(store.images.replace('ann', null, invalid)).rejects.toThrow(/sizeBytes/);
    expect(await readdir(join(directory.path, 'images', 'ann'))).toEqual([]);
  });

  test('takes away only what is confirmed to be meant, and no image that comes after', async () => {
    const changed = new Error('it is another image by now');
    const isMeant = async () => {
      if ((await store.images.get('ann', 'python'))?.rootfsKey !== key) throw changed;
    };
    const folder = join(directory.path, 'images', 'ann');
    expect(await store.images.delete('ann', 'python', async () => {})).toBe(false);
    await store.images.put('ann', imageEntry('python', key));
    let asked = 0;
    const deletion = store.images.delete('ann', 'python', async () => {
      asked += 1;
      await isMeant();
      // A pull is faster than the deletion that it comes to be asked for.
      await store.images.put('ann', imageEntry('python', otherKey));
    });
    await expect(deletion).rejects.toBe(changed);
    expect([asked, (await store.images.get('ann', 'python'))?.rootfsKey]).toEqual([2, otherKey]);
    await expect(store.images.delete('ann', 'python', isMeant)).rejects.toBe(changed);
    await store.images.put('ann', imageEntry('python', key));
    expect(await store.images.delete('ann', 'python', isMeant)).toBe(true);
    expect(await store.images.delete('ann', 'python', async () => {})).toBe(false);
    expect(await readdir(folder)).toEqual([]);
  });

  test('a deletion that is confirmed never takes the image of a pull at the same time', async () => {
    for (let round = 0; round < 40; round += 1) {
      await store.images.put('ann', imageEntry('python', key));
      const changed = new Error('it is another image by now');
      const [deleted] = await Promise.allSettled([
        store.images.delete('ann', 'python', async () => {
          if ((await store.images.get('ann', 'python'))?.rootfsKey !== key) throw changed;
        }),
        sleep(round % 4).then(() => store.images.put('ann', imageEntry('python', otherKey))),
      ]);
      if (deleted.status === 'rejected') expect(deleted.reason).toBe(changed);
      // Whichever came first.
      expect((await store.images.get('ann', 'python'))?.rootfsKey).toBe(otherKey);
    }
  });

  test('rejects with the very error of who did not confirm: what it means is not for the store to say', async () => {
    const refusal = Object.assign(new Error('LOADING Redis is loading the dataset in memory'), { name: 'ReplyError' });
    await expect(store.images.put('ann', imageEntry('python', key), () => Promise.reject(refusal))).rejects.toBe(
      refusal,
    );
    await store.images.put('ann', imageEntry('python', key));
    // Of Redis, too, at a socket that is not there.
    const noSocket = Object.assign(new Error('connect ENOENT redis.sock'), { code: 'ENOENT' });
    await expect(store.images.delete('ann', 'python', () => Promise.reject(noSocket))).rejects.toBe(noSocket);
    expect(await store.images.get('ann', 'python')).not.toBeNull();
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

  test('takes from other processes what they have not renamed, so that one that hung cannot come after a later one', async () => {
    const folder = join(directory.path, 'images', 'ann');
    const other = { ...(await ownIdentity()), pid: 1, startTime: '1' };
    await store.images.put('ann', imageEntry('python', key));
    const unrenamed = async () => (await readdir(folder)).filter((name) => name.startsWith('.tmp~'));
    for (const change of [
      () => store.images.put('ann', imageEntry('python', key)),
      () => store.images.delete('ann', 'python', async () => {}),
      () => store.images.delete('ann', 'python'),
    ]) {
      await writeFile(join(folder, temporaryName(other, 'python')), 'an older image');
      const another = temporaryName(other, 'python-3.12');
      await writeFile(join(folder, another), 'the image of another name');
      await change();
      expect(await unrenamed()).toEqual([another]);
      await rm(join(folder, another));
    }
    // Hung after it was told that the task is its own; a later pull names the image; it wakes.
    let asked = 0;
    const hung = store.images.put('ann', imageEntry('python', key), async () => {
      asked += 1;
      if (asked > 1) throw new Error('the task is another worker’s');
      const [mine = ''] = await unrenamed();
      await rm(join(folder, mine));
      await writeFile(join(folder, 'python.json'), JSON.stringify(imageEntry('python', otherKey)));
    });
    await expect(hung).rejects.toThrow('another worker’s');
    expect((await store.images.get('ann', 'python'))?.rootfsKey).toBe(otherKey);
    expect(await unrenamed()).toEqual([]);
    // One whose task it is still tries again.
    asked = 0;
    await store.images.put('ann', imageEntry('python', key), async () => {
      asked += 1;
      if (asked === 1) await rm(join(folder, (await unrenamed())[0] ?? ''));
    });
    expect([asked, (await store.images.get('ann', 'python'))?.rootfsKey]).toEqual([2, key]);
  });

  test('asks for the last word once nobody else can change the name any more', async () => {
    const folder = join(directory.path, 'images', 'ann');
    await store.images.put('ann', imageEntry('python', key));
    const other = { ...(await ownIdentity()), pid: 1, startTime: '1' };
    const others = temporaryName(other, 'python');
    for (const [change, mode] of [
      [(asked: () => Promise<void>) => store.images.put('ann', imageEntry('python', key), asked), 0o600],
      [(asked: () => Promise<void>) => store.images.delete('ann', 'python', asked), 0o700],
    ] as const) {
      await writeFile(join(folder, others), 'an older image');
      let asked = 0;
      await change(async () => {
        asked += 1;
        const [mine = '', ...rest] = (await readdir(folder)).filter((name) => name.startsWith('.'));
        expect([mine, rest]).toEqual([expect.not.stringContaining(others), []]);
        expect((await stat(join(folder, mine))).mode & 0o777).toBe(mode);
      });
      expect(asked).toBe(1);
    }
  });

  test('gives up on a name that others keep writing, and says that trying again may help', async () => {
    const folder = join(directory.path, 'images', 'ann');
    let asked = 0;
    const putting = store.images.put('ann', imageEntry('python', key), async () => {
      asked += 1;
      for (const name of await readdir(folder)) await rm(join(folder, name));
    });
    await expect(putting).rejects.toMatchObject({ code: 'internal', retryable: true });
    expect([asked, await readdir(folder)]).toEqual([20, []]);
  });

  test('takes a folder that is gone before its turn for no other writer', async () => {
    const path = join(directory.path, 'images', 'nobody', 'python.json');
    await expect(writeEntry(path, 'python', '{}', async () => {})).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('leaves no file open', async () => {
    await store.images.put('ann', imageEntry('python', key));
    await store.images.get('ann', 'python');
    await (await store.rootfs.open(key, { sizeBytes: 4 })).close();
    for (const sizeBytes of [3, 5]) {
      await expect(store.rootfs.open(key, { sizeBytes })).rejects.toMatchObject({ code: 'rootfs_damaged' });
    }
    const open = await Promise.all((await readdir('/proc/self/fd')).map(pathOfOpenFile));
    expect(open.filter((path) => path.startsWith(directory.path))).toEqual([]);
  });

  test('loses none of the changes that are made at the same time', async () => {
    await store.images.put('ann', { ...imageEntry('python', key), warnings: [] });
    const numbers = Array.from({ length: 8 }, (_, number) => String(number));
    await Promise.all(
      numbers.map(async (number) => {
        for (;;) {
          const present = await store.images.get('ann', 'python');
          if (present === null) throw new Error('there is always one');
          const entry = { ...present, warnings: [...present.warnings, number] };
          if (await store.images.replace('ann', present, entry)) return;
        }
      }),
    );
    expect((await store.images.get('ann', 'python'))?.warnings.toSorted()).toEqual(numbers);
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
    await writeFile(join(folder, 'outside.json'), JSON.stringify(imageEntry('outside', '../elsewhere')));
    await writeFile(join(folder, 'negative.json'), JSON.stringify({ ...imageEntry('negative', key), sizeBytes: -1 }));
    expect((await store.images.list('ann')).map(({ name }) => name)).toEqual(['whole']);
    const names = ['gone', 'cut', 'foreign', 'renamed', 'outside', 'negative'];
    for (const name of names) expect(await store.images.get('ann', name)).toBeNull();
  });

  test('is not stopped by what somebody else has put into its folders', async () => {
    await store.images.put('ann', imageEntry('python', key));
    const images = join(directory.path, 'images');
    await mkdir(join(images, 'lost+found'));
    await writeFile(join(images, 'notes.txt'), '');
    await writeFile(join(images, 'ann', 'python (copy).json'), JSON.stringify(imageEntry('python', key)));
    await writeFile(join(images, 'ann', 'python.save'), JSON.stringify(imageEntry('python', key)));
    const put = (name: string) => join(images, 'ann', `${name}.json`);
    await mkdir(put('folder'));
    await promisify(execFile)('mkfifo', [put('fifo')]);
    const server = createServer().listen(put('socket'));
    await once(server, 'listening');
    await symlink(put('nothing'), put('dangling'));
    await symlink(put('ring'), put('ring'));
    await symlink('/dev/zero', put('endless'));
    await symlink('nothing', join(images, 'bob'));
    const listed: string[] = [];
    for (const owner of await store.images.owners()) {
      for (const { name } of await store.images.list(owner)) listed.push(`${owner}/${name}`);
    }
    expect(listed).toEqual(['ann/python']);
    expect(await store.removeUnreferenced({ isNeeded: nobody })).toEqual([otherKey]);
    await store.collectOrphans();
    server.close();
  });

  test('names what is in the way of an image', async () => {
    const images = join(directory.path, 'images');
    await mkdir(join(images, 'ann', 'python.json'), { recursive: true });
    await writeFile(join(images, 'bob'), 'no folder');
    for (const [owner, there] of [
      ['ann', join(images, 'ann', 'python.json')],
      ['bob', join(images, 'bob')],
    ] as const) {
      const putting = store.images.put(owner, imageEntry('python', key));
      await expect(putting).rejects.toMatchObject({
        code: 'not_writable',
        message: expect.stringContaining(`${there} is in the way`),
      });
    }
    expect(await readdir(join(images, 'ann'))).toEqual(['python.json']);
    // Nor is an image that cannot be looked for said to be deleted, or not to have been there.
    for (const confirm of [undefined, async () => {}]) {
      await expect(store.images.delete('bob', 'python', confirm)).rejects.toThrow(/ENOTDIR/);
    }
    expect(await store.images.get('bob', 'python')).toBeNull();
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
    // Three at a time: of thirty that all take each other's place, one may have to give up where the disk is slow.
    const lane = async () => {
      for (let index = 0; index < 10; index++)
        await store.images.put('ann', imageEntry('python', index % 2 ? key : otherKey));
    };
    const writes = Promise.all([lane(), lane(), lane()]).finally(() => {
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
    await mkdir(join(rootfs.directory, 'image.json'));
    await expect(rootfs.publish()).rejects.toMatchObject({ code: 'internal' });
    await rootfs.discard();
    expect(await store.rootfs.has(key)).toBe(false);
  });

  test('are not published without their file system, nor with a record that is none', async () => {
    const rootfs = await store.rootfs.begin(key);
    await expect(rootfs.writeRecord({ ...record, sizeBytes: -1 })).rejects.toThrow(/sizeBytes/);
    expect(await readdir(rootfs.directory)).toEqual([]);
    await rootfs.writeRecord(record);
    await expect(rootfs.publish()).rejects.toMatchObject({ code: 'internal' });
    await rootfs.discard();
    expect(await store.rootfs.has(key)).toBe(false);
  });

  test('that cannot be read are not said to be missing', async () => {
    await publishRootfs(store, key);
    await writeFile(join(dirname(store.rootfs.path(key)), 'image.json'), '{');
    await expect(store.rootfs.read(key)).rejects.toMatchObject({ code: 'internal' });
    await writeFile(store.rootfs.content.path(otherKey), 'a file in the place of one');
    await expect(store.rootfs.open(otherKey, record)).rejects.toMatchObject({ code: 'internal' });
    await expect(store.rootfs.read(otherKey)).rejects.toMatchObject({ code: 'internal' });
    const built = { code: 'not_found', retryable: true };
    const never = hexOf('never built');
    await expect(store.rootfs.open(never, record)).rejects.toMatchObject(built);
    await expect(store.rootfs.read(never)).rejects.toMatchObject(built);
  });

  test('are removed when no image of any owner points to them', async () => {
    await publishRootfs(store, key);
    await publishRootfs(store, otherKey);
    await store.images.put('ann', imageEntry('one', key));
    await store.images.put('bob', imageEntry('two', key));
    expect(await store.removeUnreferenced({ isNeeded: async (needed) => needed === otherKey })).toEqual([]);
    expect(await store.removeUnreferenced({ isNeeded: nobody, dryRun: true })).toEqual([otherKey]);
    expect(await store.rootfs.has(otherKey)).toBe(true);
    expect(await store.removeUnreferenced({ isNeeded: nobody })).toEqual([otherKey]);
    await store.images.delete('ann', 'one');
    expect(await store.removeUnreferenced({ isNeeded: nobody })).toEqual([]);
    await store.images.delete('bob', 'two');
    expect(await store.removeUnreferenced({ isNeeded: nobody })).toEqual([key]);
    expect(await readdir(join(directory.path, 'rootfs', 'sha256'))).toEqual([]);
  });

  test('that get a name between the look at the catalog and the removal are put back', async () => {
    await publishRootfs(store, key);
    let looks = 0;
    const images = {
      referencedKeys: async () => {
        const keys = await store.images.referencedKeys();
        looks += 1;
        if (looks === 2) await store.images.put('ann', imageEntry('late', key));
        return keys;
      },
    };
    expect(await removeUnreferencedRootfs(store.rootfs, images, { isNeeded: nobody })).toEqual([]);
    expect(looks).toBe(3);
    expect(await store.images.get('ann', 'late')).not.toBeNull();
    expect((await stat(store.rootfs.path(key))).isFile()).toBe(true);
  });

  test('whose task has just given them a name are not taken away for a moment', async () => {
    await publishRootfs(store, key);
    let asked = 0;
    const isNeeded = async () => {
      asked += 1;
      await store.images.put('ann', imageEntry('named', key));
      return false;
    };
    const images = {
      referencedKeys: async () => {
        expect(await store.rootfs.has(key)).toBe(true);
        return store.images.referencedKeys();
      },
    };
    expect(await removeUnreferencedRootfs(store.rootfs, images, { isNeeded })).toEqual([]);
    expect(asked).toBe(1);
  });

  test('that a task comes to need while they are taken away are put back, also when nobody can tell', async () => {
    await publishRootfs(store, key);
    for (const answer of [async () => true, () => Promise.reject(new Error('Redis is away'))]) {
      let asked = 0;
      const isNeeded = async () => {
        asked += 1;
        if (asked === 1) return false;
        expect(await store.rootfs.has(key)).toBe(false);
        return answer();
      };
      expect(await store.removeUnreferenced({ isNeeded }).catch(() => [])).toEqual([]);
      expect([asked, await store.rootfs.has(key)]).toEqual([2, true]);
    }
    expect(await store.rootfs.read(key)).toEqual(record);
  });

  test('that an entry may mean which cannot be read are kept', async () => {
    await publishRootfs(store, key);
    await publishRootfs(store, otherKey);
    await store.images.put('ann', imageEntry('python', key));
    const path = join(directory.path, 'images', 'ann', 'python.json');
    const content = {
      of_a_later_version: digestOf('another digest before it'),
      ...imageEntry('python', key),
      sizeBytes: null,
    };
    await writeFile(path, JSON.stringify(content));
    expect(await store.images.get('ann', 'python')).toBeNull();
    expect(await store.removeUnreferenced({ isNeeded: nobody })).toEqual([otherKey]);
  });

  test('are replaced by one that is made anew, and not by one that is not whole', async () => {
    await publishRootfs(store, key);
    await store.images.put('ann', imageEntry('python', key));
    for (const [content, isWhole] of [
      ['anew', true],
      ['half', false],
    ] as const) {
      const anew = await store.rootfs.begin(key);
      await writeFile(anew.path, content);
      if (isWhole) await anew.writeRecord(record);
      const [{ status }] = await Promise.allSettled([anew.publish({ replace: true })]);
      expect(status).toBe(isWhole ? 'fulfilled' : 'rejected');
      await anew.discard();
      expect(await readFile(store.rootfs.path(key), 'utf8')).toBe('anew');
    }
    expect(await readdir(join(directory.path, 'rootfs', 'sha256'))).toEqual([key]);
  });

  test('that got their name for sure are never taken away by a collection at the same time', async () => {
    for (let round = 0; round < 150; round += 1) {
      await publishRootfs(store, key);
      const name = `round-${round}`;
      const [put] = await Promise.allSettled([
        store.images.put('ann', imageEntry(name, key)),
        sleep(round % 8).then(() => store.removeUnreferenced({ isNeeded: nobody })),
        sleep(round % 5).then(() => store.removeUnreferenced({ isNeeded: nobody })),
      ]);
      if (put.status === 'fulfilled') {
        expect(await store.images.get('ann', name)).not.toBeNull();
        expect((await stat(store.rootfs.path(key))).isFile()).toBe(true);
      } else {
        expect(put.reason).toMatchObject({ code: 'not_found', retryable: true });
      }
      await store.images.delete('ann', name);
      await store.removeUnreferenced({ isNeeded: nobody });
    }
  });
});

test('partial downloads have their size and go when told', async () => {
  const directory = await temporaryDirectory();
  const { partials } = await openStore(directory.path);
  const digest = digestOf('a blob');
  expect([await partials.size(digest), await partials.has(digest)]).toEqual([0, false]);
  await writeFile(partials.path(digest), '');
  expect([await partials.size(digest), await partials.has(digest)]).toEqual([0, true]);
  await writeFile(partials.path(digest), 'bytes');
  await writeFile(`${partials.path(digest)}.bak`, 'somebody’s');
  expect(await partials.size(digest)).toBe(5);
  const week = 7 * 24 * 3600 * 1000;
  expect(await partials.olderThan(week)).toEqual([]);
  await utimes(partials.path(digest), new Date(Date.now() - week), new Date(Date.now() - week - 1000));
  expect(await partials.olderThan(week)).toEqual([digest]);
  await partials.remove(digest);
  await partials.remove(digest);
  expect(await partials.size(digest)).toBe(0);
  await rm(dirname(partials.path(digest)), { recursive: true });
  expect(await partials.list()).toEqual([]);
  await partials.prepare();
  expect((await stat(dirname(partials.path(digest)))).mode & 0o777).toBe(0o700);
  await partials.prepare();
  const folder = dirname(partials.path(digest));
  await rm(folder, { recursive: true });
  await writeFile(folder, '');
  await expect(partials.prepare()).rejects.toThrow(`${folder} is in the way`);
  await directory.remove();
});
