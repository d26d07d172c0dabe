import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

test('a worker that ends has synced what it published, and waits for what it has begun, whoever asks how often', async () => {
  const worker = await stack.startWorker();
  const tar = await layerTar([{ name: 'f', content: 'f' }]);
  const { reference } = stack.registry.pushImage({ repository: 'library/app', layers: [{ tar }] });
  const { store } = stack;
  const sync = store.syncPending.bind(store);
  let synced = 0;
  jest.spyOn(store, 'syncPending').mockImplementation(async () => {
    // As on a slow disk.
    await sleep(200);
    await sync();
    synced += 1;
  });
  expect(await stack.pull({ reference, name: 'app' })).toMatchObject({ status: 'completed' });
  await Promise.all([worker.close(), worker.close()]);
  expect(synced).toBeGreaterThan(0);
  const before = synced;
  await worker.close();
  expect(synced).toBe(before);
});
