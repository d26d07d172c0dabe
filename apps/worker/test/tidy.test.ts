/** A disk on which files can be written but not removed: leftovers stay, and tasks end as they would otherwise. */
import { randomBytes } from 'node:crypto';
import { StoreError } from '@bhatti/store';
import { KEY_PREFIX } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { ArchiveSource } from '../image/archive-source.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
  await stack.startWorker();
});
afterAll(() => stack.close());
beforeEach(() => {
  const failed = new StoreError('disk_failed', 'the disk does not remove it', { retryable: true });
  jest.spyOn(stack.store.partials, 'remove').mockRejectedValue(failed);
  jest.spyOn(stack.store.uploads, 'remove').mockRejectedValue(failed);
});
afterEach(() => {
  jest.restoreAllMocks();
});

const layer = () => layerTar([{ name: 'f', content: randomBytes(1000) }]);

/** Expects a line in the log, and nothing of the task in Redis. */
async function expectLogged(id: string): Promise<void> {
  const warnings = stack
    .log()
    .split('\n')
    .filter((line) => line.includes('left to housekeeping'));
  expect(warnings.some((line) => line.includes(id) && line.includes('the disk does not remove it'))).toBe(true);
  await eventually(async () => (await stack.connection.keys(`${KEY_PREFIX}:*claims*`)).length === 0);
}

test('of a pull the partial download stays, also when the next finds its layer in the cache', async () => {
  const { reference, digest, layers } = stack.registry.pushImage({
    repository: 'app',
    layers: [{ tar: await layer() }],
  });
  const left = [`partial/sha256/${layers[0]?.digest.slice('sha256:'.length)}`];
  for (const force of [false, true]) {
    const id = await stack.enqueue({ reference, name: 'app', force });
    expect(await stack.ended(id)).toMatchObject({ status: 'completed', error: null, result: { digest } });
    expect((await stack.job(id)).attemptsStarted).toBe(1);
    expect(await stack.leftovers()).toEqual(left);
    await expectLogged(id);
  }
});

test('of an import the archive stays', async () => {
  const archive = await imageArchive('docker', [{ tags: ['app:1'], tars: [await layer()] }]);
  const id = await stack.enqueueImport({ archive, name: 'imported' });
  expect(await stack.ended(id)).toMatchObject({ status: 'completed', error: null });
  expect((await stack.job(id)).attemptsStarted).toBe(1);
  expect(await stack.store.uploads.list()).toEqual([id]);
  await expectLogged(id);
});

test('of an import the archive goes once the task has ended, where it could not go before', async () => {
  jest.restoreAllMocks();
  const { uploads } = stack.store;
  const remove = uploads.remove.bind(uploads);
  // Of each the first time: the task before this one may still be at it.
  const removals: string[] = [];
  jest.spyOn(uploads, 'remove').mockImplementation(async (id) => {
    removals.push(id);
    if (removals.indexOf(id) === removals.length - 1)
      throw new StoreError('disk_failed', 'the disk does not remove it', { retryable: true });
    await remove(id);
  });
  const archive = await imageArchive('docker', [{ tags: ['app:3'], tars: [await layer()] }]);
  const id = await stack.enqueueImport({ archive, name: 'later' });
  expect(await stack.ended(id)).toMatchObject({ status: 'completed', error: null });
  await eventually(async () => (await stack.store.uploads.size(id)) === undefined);
  expect(removals.filter((removed) => removed === id)).toHaveLength(2);
  await expectLogged(id);
});

test('of an import what was unpacked stays', async () => {
  const { close } = ArchiveSource.prototype;
  jest.spyOn(ArchiveSource.prototype, 'close').mockImplementationOnce(async function (this: ArchiveSource) {
    await close.call(this);
    throw new StoreError('disk_failed', 'the disk does not remove it', { retryable: true });
  });
  const archive = await imageArchive('docker', [{ tags: ['app:2'], tars: [await layer()] }]);
  const id = await stack.enqueueImport({ archive, name: 'unpacked' });
  expect(await stack.ended(id)).toMatchObject({ status: 'completed', error: null });
  expect(stack.log()).toContain('cannot close the source of the image');
});

test('a layer that is no good is told as that', async () => {
  const { reference } = stack.registry.pushImage({ repository: 'bad', layers: [{ tar: randomBytes(2000) }] });
  const id = await stack.enqueue({ reference, name: 'bad' });
  expect(await stack.ended(id)).toMatchObject({ status: 'failed', error: { code: 'layer_corrupt' } });
  await expectLogged(id);
});
