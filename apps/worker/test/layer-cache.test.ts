import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FREE_SPACE_RESERVE } from '@bhatti/rootfs';
import { TaskClaims } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const run = promisify(execFile);
const nobody = async () => false;
const megabyte = 2 ** 20;

/** Random, so that no compression makes it smaller. */
const noise = (bytes: number) => randomBytes(bytes);
/** Grows a hundred times when it is decompressed, which no estimate foresees. */
const dense = (bytes: number) =>
  randomBytes(512)
    .toString('hex')
    .repeat(bytes / 1024);

async function push(stack: TestStack, repository: string, ...contents: (string | Buffer)[]): Promise<string> {
  const layers = [];
  for (const [index, content] of contents.entries()) {
    layers.push({ tar: await layerTar([{ name: `file-${index}`, content }]) });
  }
  return stack.registry.pushImage({ repository, layers }).reference;
}

describe('the limit of the layer cache', () => {
  let stack: TestStack;

  beforeAll(async () => {
    stack = await startStack();
  });
  afterAll(() => stack.close());

  test('is kept: the least recently used go, and root filesystems without a name, not what a task needs', async () => {
    const worker = await stack.startWorker({ cacheBytes: 2.5 * megabyte });
    const pulled = async (name: string) => {
      const reference = await push(stack, name, noise(megabyte / 2));
      const before = new Set((await stack.store.layers.list()).map(({ hex }) => hex));
      expect(await stack.pull({ reference, name })).toMatchObject({ status: 'completed' });
      const [added] = (await stack.store.layers.list()).filter(({ hex }) => !before.has(hex));
      return `sha256:${added?.hex}`;
    };
    const isThere = (diffId: string) => stack.store.layers.has(diffId);
    const first = await pulled('first');
    const second = await pulled('second');
    // A task that waits, as if its worker had died while it built.
    await worker.close();
    const waiting = await stack.enqueue({ reference: 'registry.invalid/a:1', name: 'waiting' });
    await stack.queue.pause();
    await new TaskClaims(stack.connection, 'layer', async () => true).claim(waiting, [first]);
    // Neither has a name: that of the task would get one, had its worker not died.
    const rootfs = async (name: string) => (await stack.store.images.get('local', name))?.rootfsKey ?? '';
    const [wanted, unwanted] = [await rootfs('first'), await rootfs('second')];
    await new TaskClaims(stack.connection, 'rootfs', async () => true).claim(waiting, [wanted]);
    for (const name of ['first', 'second']) await stack.store.images.delete('local', name);
    const evictor = await stack.startWorker({ cacheBytes: megabyte / 2 });
    await eventually(async () => !(await isThere(second)));
    expect(await isThere(first)).toBe(true);
    await evictor.close();
    expect([await stack.store.rootfs.has(wanted), await stack.store.rootfs.has(unwanted)]).toEqual([true, false]);
    expect(await stack.leftovers()).toEqual([]);
  });
});

describe('the limit of the layer cache, beyond which a task has fetched', () => {
  let stack: TestStack;

  beforeAll(async () => {
    stack = await startStack();
  });
  afterAll(() => stack.close());

  test('is kept once that has ended', async () => {
    await stack.startWorker({ cacheBytes: 0.75 * megabyte });
    const kept: string[] = [];
    for (const name of ['first', 'second']) {
      const reference = await push(stack, name, noise(megabyte / 2));
      expect(await stack.pull({ reference, name })).toMatchObject({ status: 'completed' });
      for (const { hex } of await stack.store.layers.list()) if (!kept.includes(hex)) kept.push(hex);
    }
    const [, second] = kept;
    await eventually(async () => {
      const left = (await stack.store.layers.list()).map(({ hex }) => hex);
      return left.length === 1 && left[0] === second;
    });
  });
});

/** A file system that has 16 MiB beside the reserve. Mounting one takes root. */
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('skipped: a small disk, because only root can mount a tmpfs\n');
(isRoot ? describe : describe.skip)('a small disk', () => {
  let stack: TestStack;
  let directory: string;
  let mounted = false;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bhatti-small-disk-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=80m', 'tmpfs', directory]);
    mounted = true;
    stack = await startStack({}, directory);
    await stack.startWorker();
  });
  afterEach(() => run('mount', ['-o', 'remount,size=80m', directory]));
  afterAll(async () => {
    await stack?.close();
    if (mounted) await run('umount', [directory]);
    await rm(directory, { recursive: true, force: true });
  });

  const digestsTaken = async () => {
    const records = await Promise.all(
      (await stack.store.rootfs.content.digests()).map((hex) => stack.store.rootfs.read(hex)),
    );
    return records.every(({ sha256 }) => sha256 !== undefined);
  };

  test('that fills up fails the task, gets back what it took, and takes the next pull once there is room', async () => {
    const base = noise(megabyte / 2);
    const small = await push(stack, 'small', base);
    expect(await stack.pull({ reference: small, name: 'small' })).toMatchObject({ status: 'completed' });
    const cached = await stack.store.layers.list();
    const free = await stack.store.freeBytes();
    // The base was there before, and stays.
    const reference = await push(stack, 'large', base, dense(4 * megabyte), dense(24 * megabyte));
    const large = { reference, name: 'large', sizeBytes: 64 * megabyte };
    const failed = await stack.pull(large);
    expect(failed).toMatchObject({ status: 'failed', error: { code: 'no_space' } });
    expect(await stack.leftovers()).toEqual([]);
    expect((await stack.store.layers.list()).map(({ hex }) => hex)).toEqual(cached.map(({ hex }) => hex));
    expect(await stack.store.freeBytes()).toBeGreaterThanOrEqual(free - 64 * 1024);
    expect(await stack.connection.keys('*claims*')).toEqual([]);
    await run('mount', ['-o', 'remount,size=256m', directory]);
    expect(await stack.pull(large)).toMatchObject({ status: 'completed' });
    // A reader of an image, for its digest, keeps its blocks allocated.
    await eventually(digestsTaken);
    await stack.store.images.delete('local', 'large');
    await stack.store.removeUnreferenced({ isNeeded: nobody });
    for (const { hex } of await stack.store.layers.list()) await stack.store.layers.remove(hex);
  });

  test('on which others take the last byte in the middle of a download fails the task, and is there for the next pull', async () => {
    const { reference, layers } = stack.registry.pushImage({
      repository: 'cut-short',
      layers: [{ tar: await layerTar([{ name: 'f', content: noise(2 * megabyte) }]) }],
    });
    const blob = layers[0]?.digest ?? '';
    stack.registry.plan({ path: blob, stallAfter: megabyte });
    const id = await stack.enqueue({ reference, name: 'cut-short' });
    await eventually(async () => (await stack.store.partials.size(blob)) > 0);
    const ballast = join(directory, 'ballast');
    // Takes all the space, and then fails.
    await expect(run('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k'])).rejects.toThrow('No space left on device');
    stack.registry.clearFaults();
    stack.registry.dropConnections();
    expect(await stack.ended(id)).toMatchObject({ status: 'failed', error: { code: 'no_space' } });
    expect(await stack.leftovers()).toEqual([]);
    await rm(ballast);
    expect(await stack.pull({ reference, name: 'cut-short' })).toMatchObject({ status: 'completed' });
    await eventually(digestsTaken);
    await stack.store.images.delete('local', 'cut-short');
    await stack.store.removeUnreferenced({ isNeeded: nobody });
    for (const { hex } of await stack.store.layers.list()) await stack.store.layers.remove(hex);
  });

  test('that old layers fill gives them up for a pull', async () => {
    const old = await push(stack, 'old', noise(3 * megabyte));
    expect(await stack.pull({ reference: old, name: 'old' })).toMatchObject({ status: 'completed' });
    await eventually(digestsTaken);
    await stack.store.images.delete('local', 'old');
    await stack.store.removeUnreferenced({ isNeeded: nobody });
    const [layer] = await stack.store.layers.list();
    // Needs more than is free, and less than is free without the old layer (see `estimateSpace`).
    const bytes = ((await stack.store.freeBytes()) - FREE_SPACE_RESERVE) / 4 + 0.35 * megabyte;
    const fresh = await push(stack, 'fresh', noise(Math.floor(bytes)));
    expect(await stack.pull({ reference: fresh, name: 'fresh' })).toMatchObject({ status: 'completed' });
    expect(await stack.store.layers.has(layer?.hex ?? '')).toBe(false);
  });
});
