/** A task that ends releases at once what it held while it ran: nobody has to wait for that to expire. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { StoreError } from '@bhatti/store';
import { cancelTask, KEY_PREFIX, queueKey } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { JobLock } from '../job/job-lock.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const run = promisify(execFile);

let stack: TestStack;
/** Locks of jobs that are renewed now. */
let renewed = 0;

beforeAll(async () => {
  const { keep } = JobLock.prototype;
  jest.spyOn(JobLock.prototype, 'keep').mockImplementation(function (this: JobLock, ...job) {
    renewed += 1;
    const letGo = keep.apply(this, job);
    return () => {
      renewed -= 1;
      letGo();
    };
  });
  stack = await startStack();
  await stack.startWorker();
});
afterAll(() => stack.close());
afterEach(() => stack.registry.clearFaults());

/** The kinds of keys in Redis by which a task holds something: `lease:layer`, `claims:rootfs` and the like. */
async function held(): Promise<string[]> {
  const keys = await stack.connection.keys(`${KEY_PREFIX}:*`);
  const kinds = keys.flatMap((key) => /:((?:lease|claims|task-claims):[a-z]+):/.exec(key)?.[1] ?? []);
  return [...new Set(kinds)].sort();
}

const whileDownloading = [
  'claims:layer',
  'claims:partial',
  'claims:rootfs',
  'lease:layer',
  'task-claims:fetched',
  'task-claims:layer',
  'task-claims:partial',
  'task-claims:rootfs',
];

test.each([{ end: 'completed' }, { end: 'failed', answer: { status: 404 } }, { end: 'cancelled' }])(
  'a task that has $end holds nothing any more',
  async ({ end, answer }) => {
    const tar = await layerTar([{ name: 'f', content: randomBytes(1000) }]);
    const { reference, layers } = stack.registry.pushImage({ repository: `library/${end}`, layers: [{ tar }] });
    let send = () => {};
    const until = new Promise<void>((resolve) => {
      send = resolve;
    });
    for (const { digest } of layers) stack.registry.plan({ path: digest, until, ...answer });
    const id = await stack.enqueue({ reference, name: end });
    await eventually(async () => (await held()).includes('lease:layer'));
    expect(await held()).toEqual(whileDownloading);
    expect(renewed).toBe(1);
    // Should every worker die now, and never start again, all of it runs out: after a day at least, but for the leases.
    for (const key of await stack.connection.keys(`${KEY_PREFIX}:*`)) {
      if (/:lease:/.test(key)) expect([key, await stack.connection.ttl(key)]).not.toEqual([key, -1]);
      if (!/:(?:claims|task-claims|begun):/.test(key)) continue;
      expect(await stack.connection.ttl(key)).toBeGreaterThan(24 * 3600);
    }
    if (end === 'cancelled') await cancelTask(stack.queue, stack.relay, id);
    else send();
    expect(await stack.ended(id)).toMatchObject({ status: end });
    expect(await held()).toEqual([]);
    await eventually(() => renewed === 0);
    send();
  },
);

test('a task that the disk fails while it looks for its layers holds none of them', async () => {
  const tarOf = (bytes: number) => layerTar([{ name: 'f', content: randomBytes(bytes) }]);
  const layers = [{ tar: await tarOf(1000) }, { tar: await tarOf(9000) }];
  const { reference, diffIds, layers: blobs } = stack.registry.pushImage({ repository: 'first', layers });
  // The larger one, which it fetches first, and is not to wait for.
  stack.registry.plan({ path: blobs[1]?.digest ?? '', hang: true });
  // Damaged, so it has to be removed first, which fails below a path that is too long.
  const cached = stack.store.layers.directory(diffIds[0] ?? '');
  await mkdir(cached);
  const deeper = 'for i in $(seq 20); do mkdir "$1" && cd -P "$1" || exit; done';
  await run('sh', ['-c', deeper, 'sh', 'd'.repeat(250)], { cwd: cached });
  expect(await stack.pull({ reference, name: 'first' })).toMatchObject({ status: 'failed' });
  expect(await held()).toEqual([]);
  stack.registry.clearFaults();
  await run('find', [stack.store.layers.content.folder, '-mindepth', '1', '-delete']);
  expect(await stack.pull({ reference, name: 'first' })).toMatchObject({ status: 'completed' });
});

test('a worker that hung before it opened the partial download leaves none, when another has the layer and the task by then', async () => {
  const layers = [{ tar: await layerTar([{ name: 'f', content: randomBytes(100_000) }]) }];
  const image = stack.registry.pushImage({ repository: 'hung', layers });
  expect(await stack.pull({ reference: image.reference, name: 'hung' })).toMatchObject({ status: 'completed' });
  const blob = image.layers[0]?.digest ?? '';
  const cached = stack.store.layers.directory(image.diffIds[0] ?? '');
  const aside = join(stack.directory, 'aside');
  await rename(cached, aside);
  stack.registry.plan({ path: blob, stallAfter: 10_000 });
  const begin = stack.store.layers.begin.bind(stack.store.layers);
  let id = '';
  jest.spyOn(stack.store.layers, 'begin').mockImplementationOnce(async (diffId) => {
    await rename(aside, cached);
    await stack.connection.lrem(queueKey('active'), 0, id);
    await stack.connection.set(queueKey(`${id}:lock`), 'another');
    return begin(diffId);
  });
  await stack.queue.pause();
  id = await stack.enqueue({ reference: image.reference, name: 'again', force: true });
  await stack.queue.resume();
  await eventually(() => stack.log().includes('the job was taken over by another worker'));
  expect(stack.registry.requests.filter(({ path }) => path.endsWith(blob))).toHaveLength(2);
  expect(await stack.leftovers()).toEqual([]);
});

test('a worker that hung, and then fails, ends nothing of a task that is another’s by now', async () => {
  const layers = [{ tar: await layerTar([{ name: 'f', content: randomBytes(1000) }]) }];
  const { reference } = stack.registry.pushImage({ repository: 'failed-late', layers });
  let id = '';
  jest.spyOn(stack.store.layers, 'begin').mockImplementationOnce(async () => {
    await stack.connection.lrem(queueKey('active'), 0, id);
    await stack.connection.set(queueKey(`${id}:lock`), 'another');
    throw new StoreError('no_space', 'no space left on this host');
  });
  const logged = stack.log().length;
  await stack.queue.pause();
  id = await stack.enqueue({ reference, name: 'failed-late' });
  await stack.queue.resume();
  // BullMQ refuses the end.
  await eventually(() => stack.log().slice(logged).includes('Lock mismatch'));
  expect(await held()).toEqual(whileDownloading.filter((kind) => kind !== 'lease:layer'));
  expect((await stack.queue.getJobLogs(id)).logs.filter((line) => line.includes('no_space'))).toEqual([]);
});

test('a worker that hung once the image had its name releases nothing of a task that is another’s by now', async () => {
  const layers = [{ tar: await layerTar([{ name: 'f', content: randomBytes(1000) }]) }];
  const { reference } = stack.registry.pushImage({ repository: 'named-late', layers });
  const { images } = stack.store;
  const replace = images.replace.bind(images);
  let id = '';
  jest.spyOn(images, 'replace').mockImplementationOnce(async (...image) => {
    const isReplaced = await replace(...image);
    await stack.connection.lrem(queueKey('active'), 0, id);
    await stack.connection.set(queueKey(`${id}:lock`), 'another');
    return isReplaced;
  });
  const logged = stack.log().length;
  await stack.queue.pause();
  id = await stack.enqueue({ reference, name: 'named-late' });
  await stack.queue.resume();
  await eventually(() => stack.log().slice(logged).includes('Lock mismatch'));
  expect(stack.log().slice(logged)).toContain('the job was taken over by another worker');
  const kinds = (await stack.connection.keys(`${KEY_PREFIX}:task-claims:*:${id}`)).map((key) => key.split(':')[2]);
  expect(kinds.sort()).toEqual(['fetched', 'layer', 'partial', 'rootfs']);
});
