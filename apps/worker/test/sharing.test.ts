import { randomBytes } from 'node:crypto';
import { readWorkerMetrics } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

test('two worker processes fetch each layer once, and build each root filesystem once', async () => {
  const layer = async (name: string) => ({ tar: await layerTar([{ name, content: randomBytes(200_000) }]) });
  const base = await layer('base');
  const images = await Promise.all(
    [0, 1].map(async (i) =>
      stack.registry.pushImage({ repository: `library/shared${i}`, layers: [base, await layer(`own${i}`)] }),
    ),
  );
  // Slow enough that both of them want the base at the same time.
  stack.registry.plan({ path: '/blobs/', bytesPerSecond: 200_000 });
  await Promise.all([1, 2].map(() => stack.startWorkerProcess()));
  const ids: string[] = [];
  for (const [i, { reference }] of images.entries()) {
    for (const name of ['a', 'b', 'c']) ids.push(await stack.enqueue({ reference, name: `${name}${i}` }));
  }
  for (const id of ids) expect((await stack.ended(id)).status).toBe('completed');
  const layers = new Set(images.flatMap((image) => image.layers.map(({ digest }) => digest)));
  const fetched = stack.blobsFetched().filter((digest) => layers.has(digest));
  expect(fetched.sort()).toEqual([...layers].sort());
  const metrics = await readWorkerMetrics(stack.connection);
  const builds = metrics
    .flatMap(({ samples }) => samples)
    .find(({ name }) => name === 'bhatti_rootfs_build_seconds_count');
  expect(builds?.value).toBe(images.length);
  expect(await stack.leftovers()).toEqual([]);
});
