/** Published root filesystems that are damaged: a pull builds them again, without --force. */
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StoreError } from '@bhatti/store';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { isBuilt } from '../image/built-image.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;
let reference: string;
let key: string;
let rootfs: string;
let whole: Buffer;

beforeAll(async () => {
  stack = await startStack();
  await stack.startWorker();
  const tar = await layerTar([{ name: 'f', content: 'f' }]);
  ({ reference } = stack.registry.pushImage({ repository: 'library/damaged', layers: [{ tar }] }));
  await stack.pull({ reference, name: 'damaged' });
  [key = ''] = await stack.store.rootfs.content.digests();
  rootfs = stack.store.rootfs.path(key);
  whole = await readFile(rootfs);
});
afterAll(() => stack.close());

const record = () => join(dirname(rootfs), 'image.json');

test.each([
  ['a record cut short', () => truncate(record(), 10)],
  ['a record that is none', () => writeFile(record(), '{}')],
  ['no record', () => rm(record())],
  ['its file cut short', () => truncate(rootfs, 4096)],
  ['no file', () => rm(rootfs)],
])('one with %s is as good as none', async (_damage, damage) => {
  const recorded = await readFile(record());
  await damage();
  expect(await isBuilt(stack.store, key)).toBe(false);
  await writeFile(record(), recorded);
  await writeFile(rootfs, whole);
  expect(await isBuilt(stack.store, key)).toBe(true);
});

test('such a one is built again by the next pull, once', async () => {
  await truncate(record(), 10);
  const pulled = await stack.pull({ reference, name: 'damaged' });
  expect(pulled).toMatchObject({ status: 'completed', result: { reused: 'layers' } });
  expect((await readFile(rootfs)).equals(whole)).toBe(true);
  expect(await stack.pull({ reference, name: 'again' })).toMatchObject({
    result: { reused: 'rootfs' },
  });
  expect(await stack.leftovers()).toEqual([]);
});

test('one that the disk does not show now is not damaged for that', async () => {
  const failed = new StoreError('disk_failed', 'the disk does not read it', { retryable: true });
  jest.spyOn(stack.store.rootfs, 'read').mockRejectedValueOnce(failed);
  await expect(isBuilt(stack.store, key)).rejects.toBe(failed);
  expect(await isBuilt(stack.store, key)).toBe(true);
});
