import { randomBytes } from 'node:crypto';
import { queueKey, readWorkerMetrics, wakeWorkers } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
  await stack.startWorker();
});
afterAll(() => stack.close());

/** `name{label=value,…}` -> value */
async function counted(): Promise<Record<string, number>> {
  const families = await readWorkerMetrics(stack.connection);
  const samples = families.flatMap((family) => family.samples).filter((sample) => !sample.name.endsWith('_bucket'));
  return Object.fromEntries(
    samples.map(({ name, labels, value }) => [`${name} ${Object.values(labels).join(' ')}`.trim(), value]),
  );
}

test('pulls are counted: how they ended and why, bytes, caches, phases', async () => {
  const { reference, layers } = stack.registry.pushImage({
    repository: 'library/counted',
    tag: '1',
    layers: [
      { tar: await layerTar([{ name: 'a', content: 'one' }]) },
      { tar: await layerTar([{ name: 'b', content: 'two' }]) },
    ],
  });
  const bytes = layers.reduce((sum, layer) => sum + layer.size, 0);
  expect((await stack.pull({ reference, name: 'first' })).status).toBe('completed');
  expect((await stack.pull({ reference, name: 'other', sizeBytes: 2 ** 25 })).status).toBe('completed');
  expect((await stack.pull({ reference, name: 'again' })).status).toBe('completed');
  expect((await stack.pull({ reference: reference.replace(':1', ':2'), name: 'none' })).status).toBe('failed');

  await eventually(async () => (await counted())['bhatti_tasks_total pull failed manifest_unknown'] === 1);
  const seen = await counted();
  expect(seen).toMatchObject({
    'bhatti_tasks_total pull completed none': 3,
    bhatti_downloaded_bytes_total: bytes,
    'bhatti_layers_total registry': 2,
    'bhatti_layers_total cache': 2,
    'bhatti_rootfs_total built': 2,
    'bhatti_rootfs_total cache': 1,
    bhatti_rootfs_build_seconds_count: 2,
    'bhatti_phase_duration_seconds_count resolving': 3,
    'bhatti_phase_duration_seconds_count downloading': 2,
    'bhatti_phase_duration_seconds_count flattening': 2,
    'bhatti_task_duration_seconds_count completed': 3,
    bhatti_task_wait_seconds_count: 4,
  });
  expect(seen.bhatti_rootfs_build_seconds_sum).toBeGreaterThan(0);
});

test('of a layer that comes in two parts each byte is counted once, and of an import none', async () => {
  const tar = await layerTar([{ name: 'f', content: randomBytes(300_000) }]);
  const { reference, layers } = stack.registry.pushImage({ repository: 'library/parts', layers: [{ tar }] });
  const [blob] = layers;
  const downloaded = async () => (await counted()).bhatti_downloaded_bytes_total ?? 0;
  const before = await downloaded();
  stack.registry.plan({ path: blob?.digest ?? '', cutAfter: 100_000, times: 1 });
  stack.registry.plan({ path: blob?.digest ?? '', status: 429, headers: { 'retry-after': '3600' }, times: 2 });
  const id = await stack.enqueue({ reference, name: 'parts' });
  for (const _ of ['second', 'third']) {
    await eventually(async () => (await stack.job(id)).isDelayed());
    await (await stack.job(id)).promote();
  }
  expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
  await eventually(async () => (await downloaded()) === before + (blob?.size ?? 0));

  const archive = await imageArchive('docker', [
    { tags: ['a:1'], tars: [await layerTar([{ name: 'g', content: 'g' }])] },
  ]);
  const imported = await stack.enqueueImport({ archive, name: 'imported' });
  expect(await stack.ended(imported)).toMatchObject({ status: 'completed' });
  // The end is counted after all else of the task.
  await eventually(async () => (await counted())['bhatti_tasks_total import completed none'] === 1);
  expect(await downloaded()).toBe(before + (blob?.size ?? 0));
});

test('what an operator has put on the queue by hand is counted, under no name of its own', async () => {
  const failed = async (code: string) => (await counted())[`bhatti_tasks_total pull failed ${code}`] ?? 0;
  const before = await failed('invalid_request');
  for (const id of ['by-hand', 'without-a-name']) await stack.connection.lpush(queueKey('wait'), id);
  await stack.connection.hset(queueKey('by-hand'), { name: 'weekly', data: '{}', opts: '{}', timestamp: 1 });
  await wakeWorkers(stack.connection);
  await eventually(async () => (await failed('invalid_request')) === before + 1);
  // All that is known of the other is its id, as of a task that Redis has evicted.
  await eventually(async () => (await failed('task_lost')) === 1);
});
