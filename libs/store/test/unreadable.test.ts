/** An entry of the catalog that this user may not read: a command of root left it. Root, who runs tests, may read everything. */
import * as real from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { hexOf, imageEntry, publishRootfs, temporaryDirectory } from './support/fixture.ts';

let unreadable = '';

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  open: async (path: string, ...options: [string, number]) => {
    if (path === unreadable) throw Object.assign(new Error('EACCES: permission denied, open'), { code: 'EACCES' });
    return real.open(path, ...options);
  },
}));
const { openStore } = await import('../index.ts');

const [key, otherKey] = [hexOf('a root filesystem'), hexOf('another root filesystem')];

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  directory = await temporaryDirectory();
});
afterAll(() => directory.remove());

test('hides no other, is replaced by the next pull, and what it may mean is not removed', async () => {
  const store = await openStore(directory.path);
  for (const each of [key, otherKey]) await publishRootfs(store, each);
  await store.images.put('ann', imageEntry('python', key));
  await store.images.put('ann', imageEntry('other', otherKey));
  unreadable = join(directory.path, 'images', 'ann', 'other.json');
  expect((await store.images.list('ann')).map(({ name }) => name)).toEqual(['python']);
  const removing = store.removeUnreferenced({ isNeeded: async () => false });
  await expect(removing).rejects.toMatchObject({ code: 'not_writable' });
  expect(await store.images.replace('ann', null, imageEntry('other', otherKey))).toBe(true);
  unreadable = '';
  expect(await store.images.get('ann', 'other')).toMatchObject({ rootfsKey: otherKey });
});
