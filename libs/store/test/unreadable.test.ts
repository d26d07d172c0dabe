/** What this user may not read in the catalog: a command of root left it. Root, who runs tests, may read everything. */
import * as real from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import type { Store } from '../index.ts';
import { hexOf, imageEntry, publishRootfs, temporaryDirectory } from './support/fixture.ts';

let unreadable = '';
let code = '';

function refuse(path: string): void {
  if (path === unreadable) throw Object.assign(new Error(`${code}: of ${path}`), { code });
}

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  open: async (path: string, ...options: [string, number]) => {
    refuse(path);
    return real.open(path, ...options);
  },
  readdir: async (path: string) => {
    refuse(path);
    return real.readdir(path);
  },
}));
const { openStore } = await import('../index.ts');

const [key, otherKey] = [hexOf('a root filesystem'), hexOf('another root filesystem')];
const isNeeded = async () => false;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let store: Store;
beforeEach(async () => {
  directory = await temporaryDirectory();
  store = await openStore(directory.path);
  for (const each of [key, otherKey]) await publishRootfs(store, each);
  await store.images.put('ann', imageEntry('python', key));
  await store.images.put('ann', imageEntry('other', otherKey));
});
afterEach(async () => {
  unreadable = '';
  await directory.remove();
});

test.each(['EACCES', 'EPERM'])(
  'an entry (%s) hides no other, is replaced by the next pull, and what it may mean is not removed',
  async (refusal) => {
    code = refusal;
    unreadable = join(directory.path, 'images', 'ann', 'other.json');
    expect((await store.images.list('ann')).map(({ name }) => name)).toEqual(['python']);
    await expect(store.removeUnreferenced({ isNeeded })).rejects.toMatchObject({ code: 'not_writable' });
    expect(await store.images.replace('ann', null, imageEntry('other', otherKey))).toBe(true);
    unreadable = '';
    expect(await store.images.get('ann', 'other')).toMatchObject({ rootfsKey: otherKey });
  },
);

test('an entry that cannot be read for the moment is not told as one that is not there', async () => {
  code = 'EMFILE';
  unreadable = join(directory.path, 'images', 'ann', 'other.json');
  await expect(store.images.get('ann', 'other')).rejects.toMatchObject({ code: 'out_of_resources', retryable: true });
  await expect(store.images.list('ann')).rejects.toMatchObject({ code: 'out_of_resources', retryable: true });
});

test('the folder of an owner is not told as one without images, and what they may mean is not removed', async () => {
  code = 'EIO';
  unreadable = join(directory.path, 'images', 'ann');
  await expect(store.images.list('ann')).rejects.toMatchObject({ code: 'disk_failed', retryable: true });
  await expect(store.removeUnreferenced({ isNeeded })).rejects.toMatchObject({ code: 'disk_failed' });
  for (const each of [key, otherKey]) expect(await store.rootfs.has(each)).toBe(true);
});
