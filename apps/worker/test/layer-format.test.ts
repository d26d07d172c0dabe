/** Layers that another version has cached, which read tars otherwise: beside ours, and never ours. */
import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layerKey } from '@bhatti/rootfs';
import { TaskClaims } from '@bhatti/tasks';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;

beforeEach(async () => {
  stack = await startStack();
});
afterEach(() => stack.close());

async function push(name: string) {
  const tar = await layerTar([{ name, content: name }]);
  const { reference, diffIds } = stack.registry.pushImage({ repository: `library/${name}`, layers: [{ tar }] });
  return { reference, diffId: diffIds[0] ?? '' };
}

/** As the first version cached it: at its diff_id, and without its one file. */
async function cachedByAnother(diffId: string): Promise<string> {
  const directory = stack.store.layers.directory(diffId);
  await mkdir(directory);
  await writeFile(join(directory, 'data'), '');
  await writeFile(join(directory, 'index'), `${JSON.stringify({ format: 1, diffId })}\n`);
  return directory;
}

test('a layer that another version has cached is fetched anew, and stays what it is for that one', async () => {
  const { reference, diffId } = await push('upgraded');
  const other = await cachedByAnother(diffId);
  await stack.startWorker();
  const { result } = await stack.pull({ reference, name: 'upgraded' });
  expect(result?.reused).toBeUndefined();
  expect(await readFile(join(stack.store.layers.directory(layerKey(diffId)), 'index'), 'utf8')).toContain('"upgraded"');
  expect(await readFile(join(other, 'index'), 'utf8')).toContain('"format":1,');
  expect(await stack.pull({ reference, name: 'larger', sizeBytes: 2 ** 26 })).toMatchObject({
    result: { reused: 'layers' },
  });
});

test('layers of other versions go when these have not used them for a day, and no task needs them', async () => {
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
  for (const old of [paths[0] ?? '', path, stack.store.layers.directory(layerKey(ours.diffId))])
    await utimes(old, longAgo, longAgo);
  await stack.startWorker();
  const expected = [lately.diffId, needed.diffId, layerKey(ours.diffId)].map((digest) => digest.slice(7)).sort();
  expect((await stack.store.layers.list()).map(({ hex }) => hex).sort()).toEqual(expected);
});
