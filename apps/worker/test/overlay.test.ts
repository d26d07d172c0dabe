import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, rmdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { openOverlay } from '../image/overlay.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const run = promisify(execFile);

let stack: TestStack;
let overlay: string;

beforeEach(async () => {
  stack = await startStack();
  overlay = join(stack.directory, 'overlay.tar');
});
afterEach(() => stack.close());

const agent = (text: string) =>
  layerTar([
    { name: 'sbin/agent', content: text, mode: 0o755 },
    { name: 'etc/.wh.old', content: '' },
  ]);

async function pushImage(): Promise<string> {
  const tar = await layerTar([
    { name: 'etc/old', content: 'old' },
    { name: 'sbin/agent', content: "the image's own" },
  ]);
  return stack.registry.pushImage({ repository: 'library/app', layers: [{ tar }] }).reference;
}

const keyOf = async (name: string) => (await stack.store.images.get('local', name))?.rootfsKey ?? '';

async function contentOf(name: string, path: string): Promise<string> {
  const image = stack.store.rootfs.path(await keyOf(name));
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const { stdout, stderr } = await run('debugfs', ['-R', `cat ${path}`, image], { env });
  return stdout === '' ? stderr : stdout;
}

describe('an overlay', () => {
  test('is the last layer, and another overlay makes another root filesystem of the same layers', async () => {
    const reference = await pushImage();
    const plain = await stack.startWorker();
    await stack.pull({ reference, name: 'app' });
    const plainKey = await keyOf('app');
    await plain.close();

    await writeFile(overlay, gzipSync(await agent('one')));
    const first = await stack.startWorker({ overlay });
    expect((await stack.pull({ reference, name: 'app' })).result?.reused).toBe('layers');
    expect(await contentOf('app', '/sbin/agent')).toBe('one');
    expect(await contentOf('app', '/etc/old')).toContain('not found');
    const firstKey = await keyOf('app');
    expect((await stack.pull({ reference, name: 'app' })).result?.reused).toBe('rootfs');
    await first.close();

    await writeFile(overlay, await agent('two'));
    await stack.startWorker({ overlay });
    expect((await stack.pull({ reference, name: 'app' })).result?.reused).toBe('layers');
    expect(await contentOf('app', '/sbin/agent')).toBe('two');
    expect(new Set([plainKey, firstKey, await keyOf('app')]).size).toBe(3);
  });

  test('that garbage collection took from the cache is decoded again, unless its file is another by now', async () => {
    const reference = await pushImage();
    await writeFile(overlay, await agent('one'));
    await stack.startWorker({ overlay });
    const [hex = ''] = (await stack.store.layers.list()).map((entry) => entry.hex);
    await stack.store.layers.remove(`sha256:${hex}`);
    await stack.pull({ reference, name: 'app' });
    expect(await contentOf('app', '/sbin/agent')).toBe('one');

    await stack.store.layers.remove(`sha256:${hex}`);
    await writeFile(overlay, await agent('two'));
    const view = await stack.pull({ reference, name: 'app', sizeBytes: 2 ** 25 });
    expect(view.error).toMatchObject({ code: 'invalid_overlay' });
    expect(await stack.leftovers()).toEqual([]);
  });

  test('whose file was removed, moved or cut short since the worker started is named', async () => {
    const reference = await pushImage();
    await writeFile(overlay, await agent('one'));
    await stack.startWorker({ overlay });
    const [layer] = await stack.store.layers.list();
    const changes = [
      [() => truncate(overlay, 600), /overlay\.tar is not what it was/],
      [() => rm(overlay), /overlay\.tar cannot be read any more: .*ENOENT/],
      [() => mkdir(overlay), /overlay\.tar is not what it was/],
      // Linux lets nobody read this one, root neither.
      [
        () => rmdir(overlay).then(() => symlink('/proc/sys/net/ipv4/route/flush', overlay)),
        /overlay\.tar cannot be read any more: .*EACCES/,
      ],
    ] as const;
    for (const [change, what] of changes) {
      await stack.store.layers.remove(layer?.hex ?? '');
      await change();
      const { error } = await stack.pull({ reference, name: 'app' });
      expect(error).toMatchObject({ code: 'invalid_overlay', message: expect.stringMatching(what) });
    }
    expect(await stack.leftovers()).toEqual([]);
  });

  test('that somebody takes from the cache while the image is made is decoded again by the next attempt', async () => {
    const reference = await pushImage();
    await writeFile(overlay, await agent('one'));
    const opened = await openOverlay(overlay, stack.store);
    let provided = 0;
    const provide = async (signal?: AbortSignal) => {
      await opened.provide(signal);
      provided += 1;
      if (provided === 1) await stack.store.layers.remove(opened.diffId);
    };
    await stack.startWorker({ overlay: { ...opened, provide } });
    const { status, error } = await stack.pull({ reference, name: 'app' });
    expect([status, error, provided]).toEqual(['completed', null, 2]);
    expect(await contentOf('app', '/sbin/agent')).toBe('one');
    expect(stack.log()).toContain(`the layer ${opened.diffId} was removed from the cache while the image was made`);
  });

  test('that cannot be used ends the worker at its start, and says why', async () => {
    await writeFile(overlay, '<html>');
    const empty = join(stack.directory, 'empty.tar');
    await writeFile(empty, '');
    const image = join(stack.directory, 'image.tar');
    await writeFile(image, await imageArchive('docker', [{ tags: ['app:1'], tars: [await layerTar([])] }]));
    const refusal = (path: string, why: string) => new RegExp(`BHATTI_OVERLAY: ${path} cannot be used: .*${why}`);
    for (const [path, why] of [
      ['overlay.tar', 'absolute path'],
      [join(stack.directory, 'missing.tar'), 'ENOENT'],
      [stack.directory, 'not a file'],
      [overlay, 'layer'],
      [empty, 'it is empty'],
      [image, 'an image, not a layer'],
    ] as const) {
      await expect(openOverlay(path, stack.store)).rejects.toThrow(refusal(path, why));
    }
    const starting = stack.startWorkerProcess({ BHATTI_OVERLAY: overlay });
    await expect(starting).rejects.toThrow(refusal(overlay, 'layer'));
    expect(await stack.leftovers()).toEqual([]);
  });
});

test('the SHA-256 of an image is in its record soon after the pull, also when the worker that built it could not take it', async () => {
  const reference = await pushImage();
  const worker = await stack.startWorker();
  await stack.pull({ reference, name: 'app' });
  const key = await keyOf('app');
  const recorded = () => eventually(async () => (await stack.store.rootfs.read(key)).sha256);
  const actual = createHash('sha256')
    .update(await readFile(stack.store.rootfs.path(key)))
    .digest('hex');
  expect(await recorded()).toBe(actual);
  await worker.close();

  const present = await stack.store.rootfs.read(key);
  expect(await stack.store.rootfs.replaceRecord(key, present, { ...present, sha256: undefined })).toBe(true);
  await stack.startWorker();
  expect(await recorded()).toBe(actual);
});
