/** The limits that an operator sets for a worker process: each stops what goes beyond it. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { imageArchive } from '../../../test/support/archive.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const LIMITS = {
  BHATTI_MAX_LAYER_BYTES: '100000',
  BHATTI_MAX_IMAGE_BYTES: '140000',
  BHATTI_MAX_ARCHIVE_BYTES: '120000',
};

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

const tarOf = (bytes: number) => layerTar([{ name: randomBytes(4).toString('hex'), content: randomBytes(bytes) }]);

async function pull(name: string, sizes: readonly number[]) {
  const layers = await Promise.all(sizes.map(async (size) => ({ tar: await tarOf(size) })));
  const { reference } = stack.registry.pushImage({ repository: `library/${name}`, layers });
  return stack.pull({ reference, name });
}

async function importArchive(name: string, bytes: number) {
  const archive = await imageArchive('docker', [{ tags: [`${name}:1`], tars: [await tarOf(bytes)] }]);
  return stack.ended(await stack.enqueueImport({ archive: gzipSync(archive), name }));
}

test('a layer, an image, and an archive that are larger than the operator allows fail, and leave nothing', async () => {
  await stack.startWorkerProcess(LIMITS);
  expect(await pull('within', [60_000, 60_000])).toMatchObject({ status: 'completed' });
  expect(await pull('layer', [110_000])).toMatchObject({ error: { code: 'layer_too_large' } });
  expect(await pull('image', [80_000, 80_000])).toMatchObject({ error: { code: 'image_too_large' } });
  expect(await importArchive('within', 90_000)).toMatchObject({ status: 'completed' });
  expect(await importArchive('archive', 115_000)).toMatchObject({ error: { code: 'archive_too_large' } });
  expect(await stack.leftovers()).toEqual([]);
});

test('an overlay that is larger than a layer may be ends the worker at its start', async () => {
  const overlay = join(stack.directory, 'overlay.tar');
  await writeFile(overlay, await tarOf(110_000));
  const starting = stack.startWorkerProcess({ ...LIMITS, BHATTI_OVERLAY: overlay });
  await expect(starting).rejects.toThrow(/BHATTI_OVERLAY: .*overlay\.tar cannot be used: .*100000/);
});
