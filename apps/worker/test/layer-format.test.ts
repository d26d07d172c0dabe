/** Layers that are not what they should be, of another version or damaged: nothing is built from them. */
import { mkdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { TaskClaims } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { startRegistry } from '../../../test/support/registry.ts';
import type { RunningWorker } from '../worker.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;
let worker: RunningWorker | undefined;

beforeAll(async () => {
  stack = await startStack();
});
afterEach(() => worker?.close());
afterAll(() => stack.close());

async function push(name: string) {
  const tar = await layerTar([{ name, content: name }]);
  const { reference, diffIds } = stack.registry.pushImage({ repository: `library/${name}`, layers: [{ tar }] });
  return { reference, diffId: diffIds[0] ?? '' };
}

/** A layer as the first version cached it: at its diff_id, but without its file. */
async function cachedByAnother(diffId: string): Promise<string> {
  const directory = stack.store.layers.directory(diffId);
  await mkdir(directory);
  await writeFile(join(directory, 'data'), '');
  await writeFile(join(directory, 'index'), `${JSON.stringify({ format: 1, diffId })}\n`);
  return directory;
}

test('a layer that another version has cached is fetched anew, in its place', async () => {
  const { reference, diffId } = await push('upgraded');
  await cachedByAnother(diffId);
  worker = await stack.startWorker();
  const { result } = await stack.pull({ reference, name: 'upgraded' });
  expect(result?.reused).toBeUndefined();
  expect(await readFile(join(stack.store.layers.directory(diffId), 'index'), 'utf8')).toContain('"upgraded"');
  expect(await stack.pull({ reference, name: 'larger', sizeBytes: 2 ** 25 })).toMatchObject({
    result: { reused: 'layers' },
  });
});

test('so is one whose index is damaged, or gone, or its data, or the folder for downloads with it', async () => {
  const { reference, diffId } = await push('damaged');
  worker = await stack.startWorker();
  await stack.pull({ reference, name: 'whole' });
  const index = join(stack.store.layers.directory(diffId), 'index');
  const whole = await readFile(index);
  for (const [name, damage] of [
    ['cut', () => writeFile(index, whole.subarray(0, 10))],
    ['gone', () => rm(index)],
    ['data-gone', () => rm(join(stack.store.layers.directory(diffId), 'data'))],
    [
      'partial-gone',
      async () => {
        await rm(index);
        await rm(dirname(stack.store.partials.path(diffId)), { recursive: true });
      },
    ],
  ] as const) {
    await damage();
    expect((await stack.pull({ reference, name, force: true })).status).toBe('completed');
    expect(await readFile(index)).toEqual(whole);
  }
});

test('one of which a mirror has wrong bytes is fetched from the registry itself', async () => {
  const mirror = await startRegistry();
  try {
    const layers = [{ tar: await layerTar([{ name: 'f', content: 'mirrored' }]) }];
    const { reference, layers: blobs } = stack.registry.pushImage({ repository: 'library/mirrored', layers });
    mirror.pushImage({ repository: 'library/mirrored', layers });
    const blob = blobs[0]?.digest ?? '-';
    mirror.plan({ path: blob, corruptAt: 20 });
    worker = await stack.startWorker({
      registry: { registries: { [stack.registry.host]: { mirrors: [mirror.host] } } },
    });
    expect(await stack.pull({ reference, name: 'mirrored' })).toMatchObject({ status: 'completed' });
    const asked = [mirror, stack.registry].map(({ requests }) => requests.filter(({ path }) => path.endsWith(blob)));
    expect(asked.map(({ length }) => length)).toEqual([1, 1]);
  } finally {
    await mirror.close();
  }
});

test('one that shows its damage only while an image is made of it is fetched anew by the next attempt', async () => {
  const { reference, diffId } = await push('damaged-within');
  worker = await stack.startWorker();
  await stack.pull({ reference, name: 'whole' });
  const directory = stack.store.layers.directory(diffId);
  const [index, data] = [join(directory, 'index'), join(directory, 'data')];
  const whole = [await readFile(index), await readFile(data)] as const;
  const damages: Record<string, () => Promise<void>> = {
    'cut in its index': () => writeFile(index, whole[0].subarray(0, -5)),
    'cut in its data': () => writeFile(data, whole[1].subarray(0, 100)),
  };
  for (const [name, damage] of Object.entries(damages)) {
    await damage();
    const id = await stack.enqueue({ reference, name: 'again', force: true });
    expect([name, (await stack.ended(id)).status]).toEqual([name, 'completed']);
    const { logs } = await stack.queue.getJobLogs(id);
    expect(logs.join('\n')).toContain('failed, to be tried again: layer_damaged: ');
    expect([name, await readFile(index), await readFile(data)]).toEqual([name, ...whole]);
  }
  expect(await stack.leftovers()).toEqual([]);
});

test('layers of other versions go when these have not used them for a day, and no task needs them', async () => {
  for (const { hex } of await stack.store.layers.list()) await stack.store.layers.remove(hex);
  const [unused, lately, needed, ours] = [
    await push('unused'),
    await push('lately'),
    await push('needed'),
    await push('ours'),
  ];
  const first = await stack.startWorker();
  await stack.pull({ reference: ours.reference, name: 'ours' });
  await first.close();
  const others = [unused, lately, needed].map(({ diffId }) => diffId);
  const paths = await Promise.all(others.map(cachedByAnother));
  const [, , path = ''] = paths;
  await stack.queue.pause();
  const waiting = await stack.enqueue({ reference: needed.reference, name: 'needed' });
  await new TaskClaims(stack.connection, 'layer', async () => true).claim(waiting, [needed.diffId]);
  const longAgo = new Date(Date.now() - 25 * 3600 * 1000);
  for (const old of [paths[0] ?? '', path, stack.store.layers.directory(ours.diffId)])
    await utimes(old, longAgo, longAgo);
  worker = await stack.startWorker();
  const expected = [lately.diffId, needed.diffId, ours.diffId].map((digest) => digest.slice(7)).sort();
  expect((await stack.store.layers.list()).map(({ hex }) => hex).sort()).toEqual(expected);
});
