import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { evictLayer, evictLayers, openStore, type Store } from '../index.ts';
import { digestOf, hexOf, publishLayer, temporaryDirectory, unfinishedIn } from './support/fixture.ts';

const diffId = digestOf('a layer');

describe('the layer cache', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
  });
  afterEach(() => directory.remove());

  test('has a layer only once it is published', async () => {
    const layer = await store.layers.begin(diffId);
    expect(dirname(layer.directory)).toBe(dirname(store.layers.directory(diffId)));
    await writeFile(join(layer.directory, 'data'), 'data');
    await writeFile(join(layer.directory, 'index'), 'index');
    expect(await store.layers.has(diffId)).toBe(false);
    expect(await store.layers.list()).toEqual([]);
    await layer.publish();
    expect(await store.layers.has(diffId)).toBe(true);
    expect(store.layers.directory(diffId)).toBe(join(directory.path, 'layers', 'sha256', hexOf('a layer')));
    expect(await readFile(join(store.layers.directory(diffId), 'data'), 'utf8')).toBe('data');
    await layer.discard();
    expect(await store.layers.has(diffId)).toBe(true);
  });

  test('keeps what it has private', async () => {
    const layer = await store.layers.begin(diffId);
    for (const name of ['data', 'index']) await writeFile(join(layer.directory, name), '', { mode: 0o644 });
    await layer.publish();
    const published = store.layers.directory(diffId);
    expect((await stat(published)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(published)) expect((await stat(join(published, name))).mode & 0o777).toBe(0o600);
  });

  test('keeps the first of those who publish the same layer, and drops the others', async () => {
    const layers = await Promise.all(Array.from({ length: 10 }, () => store.layers.begin(diffId)));
    expect(new Set(layers.map((layer) => layer.directory)).size).toBe(10);
    for (const [index, layer] of layers.entries()) {
      await writeFile(join(layer.directory, 'data'), String(index));
      await writeFile(join(layer.directory, 'index'), String(index));
    }
    await Promise.all(layers.map((layer) => layer.publish()));
    const kept = store.layers.directory(diffId);
    const first = await readFile(join(kept, 'data'), 'utf8');
    expect(await readFile(join(kept, 'index'), 'utf8')).toBe(first);
    await publishLayer(store, diffId, 'late');
    expect(await readFile(join(kept, 'data'), 'utf8')).toBe(first);
    expect(await unfinishedIn(dirname(kept))).toEqual([]);
  });

  test('gives back what was to be replaced, when what comes in its place is gone', async () => {
    await publishLayer(store, diffId, 'old');
    const { content } = store.layers;
    const layer = await store.layers.begin(diffId);
    for (const name of ['data', 'index']) await writeFile(join(layer.directory, name), 'new');
    const setAside = content.setAside.bind(content);
    jest.spyOn(content, 'setAside').mockImplementationOnce(async (digest) => {
      await rm(layer.directory, { recursive: true });
      return setAside(digest);
    });
    await expect(layer.publish({ replace: true })).rejects.toMatchObject({
      message: expect.stringContaining('ENOENT'),
    });
    expect(await readFile(join(store.layers.directory(diffId), 'data'), 'utf8')).toBe('old');
    expect(await unfinishedIn(content.folder)).toEqual([]);
  });

  test('goes on when somebody has emptied its folder, and tells when that is gone', async () => {
    await publishLayer(store, diffId);
    const folder = join(directory.path, 'layers');
    await rm(join(folder, 'sha256'), { recursive: true });
    expect(await store.layers.list()).toEqual([]);
    await publishLayer(store, diffId);
    expect(await store.layers.has(diffId)).toBe(true);
    for (const path of [join(folder, 'sha256'), store.layers.directory(diffId)]) {
      expect((await stat(path)).mode & 0o777).toBe(0o700);
    }
    await rm(folder, { recursive: true });
    await expect(store.layers.begin(diffId)).rejects.toMatchObject({
      code: 'not_writable',
      message: expect.stringContaining(`${folder} is not there any more`),
    });
  });

  test.each([
    ['a file', (path: string) => writeFile(path, 'x'.repeat(100_000))],
    ['a link to nothing', (path: string) => symlink('nothing', path)],
  ])('publishes a layer in the place of %s, which is none', async (_what, put) => {
    const path = store.layers.directory(diffId);
    await put(path);
    expect(await store.layers.has(diffId)).toBe(false);
    await publishLayer(store, diffId);
    expect(await readFile(join(path, 'data'), 'utf8')).toBe('content');
    expect(await unfinishedIn(dirname(path))).toEqual([]);
    await store.layers.remove(diffId);
    await put(path);
    const layer = await store.layers.begin(diffId);
    for (const name of ['data', 'index']) await writeFile(join(layer.directory, name), 'anew');
    await layer.publish({ replace: true });
    expect(await readFile(join(path, 'data'), 'utf8')).toBe('anew');
    expect(await unfinishedIn(dirname(path))).toEqual([]);
  });

  test('lists and evicts a file in the place of a layer, and puts none over a layer', async () => {
    await publishLayer(store, digestOf('another'));
    await writeFile(store.layers.directory(diffId), 'x'.repeat(100_000));
    await (await openStore(directory.path)).syncPending();
    const file = (await store.layers.list()).find(({ hex }) => hex === hexOf('a layer'));
    expect(file?.allocatedBytes).toBeGreaterThanOrEqual(100_000);
    let asked = 0;
    const isNeeded = async () => {
      asked += 1;
      // Made by a task while the file was taken away.
      if (asked === 2) await publishLayer(store, diffId);
      return asked === 2;
    };
    expect(await evictLayer(store.layers, diffId, isNeeded)).toBe(false);
    expect(await store.layers.has(diffId)).toBe(true);
    await store.layers.remove(diffId);
    await writeFile(store.layers.directory(diffId), 'file');
    const evicted = await evictLayers(store.layers, { bytes: 1e9, isNeeded: async () => false });
    expect(evicted.map(({ hex }) => hex).sort()).toEqual([hexOf('a layer'), hexOf('another')].sort());
    expect(await readdir(dirname(store.layers.directory(diffId)))).toEqual([]);
  });

  test('is not stopped by what somebody else has put beside its layers', async () => {
    await publishLayer(store, diffId);
    const { folder } = store.layers.content;
    const beside = ['lost+found', `${hexOf('a layer')}.bak`, `old-${hexOf('a layer')}`, hexOf('short').slice(1)];
    for (const name of beside) await mkdir(join(folder, name));
    const next = await openStore(directory.path);
    expect((await next.layers.list()).map(({ hex }) => hex)).toEqual([hexOf('a layer')]);
    await next.syncPending();
    await next.collectOrphans();
    await evictLayers(next.layers, { bytes: Number.POSITIVE_INFINITY, isNeeded: async () => false });
    expect((await readdir(folder)).sort()).toEqual(beside.toSorted());
  });

  test('leaves nothing of a layer that is discarded, twice too', async () => {
    const layer = await store.layers.begin(diffId);
    await writeFile(join(layer.directory, 'data'), 'data');
    await layer.discard();
    await layer.discard();
    expect(await readdir(dirname(layer.directory))).toEqual([]);
  });

  test('does not publish what is no layer', async () => {
    const layer = await store.layers.begin(diffId);
    await writeFile(join(layer.directory, 'data'), 'data');
    await expect(layer.publish()).rejects.toMatchObject({ code: 'internal' });
    await mkdir(join(layer.directory, 'index'));
    await expect(layer.publish()).rejects.toMatchObject({ code: 'internal' });
    expect(await store.layers.has(diffId)).toBe(false);
    await layer.discard();
  });

  test('knows sizes and uses, and removes', async () => {
    await publishLayer(store, diffId, 'x'.repeat(100_000));
    await publishLayer(store, digestOf('another'));
    const before = (await store.layers.list()).find(({ hex }) => hex === hexOf('a layer'));
    expect(before?.allocatedBytes).toBeGreaterThanOrEqual(100_000);
    const start = Date.now();
    await store.layers.touch(diffId);
    const after = (await store.layers.list()).find(({ hex }) => hex === hexOf('a layer'));
    expect(after?.lastUsed.getTime()).toBeGreaterThanOrEqual(start - 10);
    await store.layers.touch(digestOf('not there'));
    await store.layers.remove(diffId);
    await store.layers.remove(diffId);
    expect((await store.layers.list()).map(({ hex }) => hex)).toEqual([hexOf('another')]);
  });
});
