import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

test('of a pull that fails at one layer, the others are synced all the same: the next pull needs them', async () => {
  const sync = jest.spyOn(stack.store, 'syncPending');
  await stack.startWorker();
  // That of the first round of housekeeping.
  await eventually(() => sync.mock.results.length === 1);
  await Promise.all(sync.mock.results.map(({ value }) => value));
  const layers = [{ tar: await layerTar([{ name: 'f', content: 'f' }]) }, { tar: randomBytes(5000) }];
  const image = stack.registry.pushImage({ repository: 'library/synced', layers });
  const good = image.diffIds[0] ?? '';
  const cached = eventually(() => stack.store.layers.has(good)).then(() => {});
  stack.registry.plan({ path: image.layers[1]?.digest ?? '', until: cached });
  const view = await stack.pull({ reference: image.reference, name: 'synced' });
  expect(view).toMatchObject({ status: 'failed', error: { code: 'layer_corrupt' } });
  await eventually(() => !existsSync(join(stack.store.layers.directory(good), 'unsynced')));
});
