import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openStore, type Store, StoreError } from '@bhatti/store';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import type { BuiltImage } from '../image/built-image.ts';
import { nameImage } from '../image/catalog.ts';

const run = promisify(execFile);

let directory: string;
let store: Store;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-catalog-'));
  store = await openStore(directory);
});
afterEach(() => rm(directory, { recursive: true }));

/** Publishes the root filesystem of an image, with no content. */
async function publish(digit: string, found: Partial<BuiltImage> = {}): Promise<string> {
  const key = digit.repeat(64);
  const publication = await store.rootfs.begin(key);
  await writeFile(publication.path, 'not really a file system');
  await publication.writeRecord({
    sizeBytes: 4096,
    allocatedBytes: 4096,
    createdAt: '2026-01-02T03:04:05.000Z',
    warnings: [],
    manifestDigest: `sha256:${key}`,
    platform: 'linux/amd64',
    config: {},
    ...found,
  });
  await publication.publish();
  return key;
}

const resolution = { manifestDigest: 'sha256:a', targetDigest: 'sha256:b', wantedPlatform: 'linux/amd64' };

test('a name that is taken from another repository is told, and not that a tag moved', async () => {
  const key = await publish('a');
  const name = (reference: string) =>
    nameImage(store, { owner: 'ann', name: 'app-1', reference, resolution, key }, async () => {});
  expect((await name('host:5000/a/app:1')).displaced).toBeUndefined();
  expect((await name('host:5000/a/app:1')).displaced).toBeUndefined();
  expect((await name(`host:5000/a/app@sha256:${'a'.repeat(64)}`)).displaced).toBeUndefined();
  expect((await name('host:5000/b/app:1')).displaced).toBe(`host:5000/a/app@sha256:${'a'.repeat(64)}`);
  expect((await name('host:5001/b/app:1')).displaced).toBe('host:5000/b/app:1');
  // Of an import that knows no reference.
  expect((await name('app')).displaced).toBeUndefined();
  expect((await name('host:5001/b/app:1')).displaced).toBeUndefined();
});

test('an index that changed, but not for this platform, is noted, and the image stays as old as it was', async () => {
  const named = { owner: 'ann', name: 'app', reference: 'docker.io/library/app:1', key: await publish('a') };
  await nameImage(store, { ...named, resolution }, async () => {});
  const before = await store.images.get('ann', 'app');
  const changed = { ...resolution, targetDigest: 'sha256:c' };
  expect(before).toMatchObject({ resolution });
  await nameImage(store, { ...named, resolution: changed }, async () => {});
  const noted = await store.images.get('ann', 'app');
  expect(noted).toEqual({ ...before, resolution: changed });
  const fail = (error: Error) => () => Promise.reject(error);
  // That entry says so already, so nothing is written.
  await nameImage(store, { ...named, resolution: changed }, fail(new Error('asked for nothing')));
  // What it cannot note is no reason to go on with the task of another, nor with an image that is gone.
  await expect(nameImage(store, { ...named, resolution }, fail(new Error('lost')))).rejects.toThrow('lost');
  const remove = () => store.rootfs.content.remove(named.key);
  const gone = new StoreError('not_found', 'removed just after the entry was written', { retryable: true });
  jest.spyOn(store.images, 'replace').mockRejectedValueOnce(gone);
  await expect(nameImage(store, { ...named, resolution }, async () => {})).rejects.toBe(gone);
  await expect(nameImage(store, { ...named, resolution }, remove)).rejects.toMatchObject({ code: 'not_found' });
});

test('an entry says all that was found out when the image was built, and when its name was given', async () => {
  const named = { owner: 'ann', name: 'app', reference: 'docker.io/library/app:1', resolution };
  await nameImage(store, { ...named, key: await publish('a') }, async () => {});
  const before = await store.images.get('ann', 'app');
  // Of another platform than was asked for, as an image that states none.
  const found = { platform: 'linux/arm64/v8', allocatedBytes: 512, warnings: ['odd'], config: { user: 'me' } };
  const key = await publish('b', found);
  const began = new Date().toISOString();
  await nameImage(store, { ...named, key }, async () => {});
  const after = await store.images.get('ann', 'app');
  const manifestDigest = `sha256:${key}`;
  expect(before).toMatchObject({ platform: 'linux/amd64', warnings: [] });
  expect(after).toMatchObject({ ...found, manifestDigest, sizeBytes: 4096, rootfsKey: key, resolution });
  // A tag that moved leads to a newer image.
  expect(after && after.createdAt >= began).toBe(true);
});

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('skipped: a full disk, because only root can mount a tmpfs\n');
const rootTest = isRoot ? test : test.skip;

rootTest('a full disk, which cannot take that note, fails no pull that changes nothing else', async () => {
  const small = join(directory, 'small');
  await mkdir(small);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
  try {
    store = await openStore(small);
    const named = { owner: 'ann', name: 'app', reference: 'docker.io/library/app:1', key: await publish('a') };
    await nameImage(store, { ...named, resolution }, async () => {});
    const before = await store.images.get('ann', 'app');
    await writeFile(join(small, 'filler'), Buffer.alloc(2 ** 21)).catch(() => {});
    const changed = { ...named, resolution: { ...resolution, targetDigest: 'sha256:c' } };
    await nameImage(store, changed, async () => {});
    expect(await store.images.get('ann', 'app')).toEqual(before);
    await expect(nameImage(store, { ...changed, reference: 'app:2' }, async () => {})).rejects.toMatchObject({
      code: 'no_space',
    });
  } finally {
    await run('umount', [small]);
  }
});

test('an image that is shared at the very moment when it is pulled anew stays shared', async () => {
  const [before, after] = [await publish('a'), await publish('b')];
  const named = { owner: 'ann', name: 'app', reference: 'docker.io/library/app:1', resolution };
  await nameImage(store, { ...named, key: before }, async () => {});
  const asked: string[] = [];
  await nameImage(store, { ...named, key: after }, async () => {
    const entry = await store.images.get('ann', 'app');
    asked.push(entry?.rootfsKey ?? '');
    if (entry !== null && entry.shared !== true) await store.images.put('ann', { ...entry, shared: true });
  });
  expect(await store.images.get('ann', 'app')).toMatchObject({ rootfsKey: after, shared: true });
  expect(asked).toEqual([before, before]);
});
