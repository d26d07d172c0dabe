import { readdir, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { evictLayer, evictLayers, openStore, type Store } from '../index.ts';
import { digestOf, hexOf, publishLayer, temporaryDirectory } from './support/fixture.ts';

const all = Number.POSITIVE_INFINITY;
const nobody = async () => false;

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let store: Store;

beforeEach(async () => {
  directory = await temporaryDirectory();
  store = await openStore(directory.path);
  // Used in this order, which is not that of their digests.
  for (const [age, name] of ['oldest', 'middle', 'newest'].entries()) {
    await publishLayer(store, digestOf(name), 'x'.repeat(100_000));
    const used = new Date(Date.UTC(2026, 0, 1 + age));
    // By the time of the last look, which is no use, it is the other way round.
    const seen = new Date(Date.UTC(2026, 1, 10 - age));
    await utimes(store.layers.directory(digestOf(name)), seen, used);
  }
});
afterEach(() => directory.remove());

const left = async () => new Set((await store.layers.list()).map(({ hex }) => hex));
const hexes = (...names: string[]) => new Set(names.map(hexOf));

describe('evictLayers', () => {
  test('removes the least recently used, as many as must go', async () => {
    const removed = await evictLayers(store.layers, { bytes: 1, isNeeded: nobody });
    expect(removed.map(({ hex }) => hex)).toEqual([hexOf('oldest')]);
    expect(removed[0]?.allocatedBytes).toBeGreaterThanOrEqual(100_000);
    expect(removed[0]?.allocatedBytes).toBeLessThan(200_000);
    await store.layers.touch(digestOf('middle'));
    expect(await evictLayers(store.layers, { bytes: 50_000, isNeeded: nobody })).toHaveLength(1);
    expect(await left()).toEqual(hexes('middle'));
  });

  test('leaves what a task needs', async () => {
    const isNeeded = async (diffId: string) => diffId === digestOf('oldest');
    expect(await evictLayers(store.layers, { bytes: all, isNeeded })).toHaveLength(2);
    expect(await left()).toEqual(hexes('oldest'));
  });

  test('puts back what a task came to need while it was taken away', async () => {
    let asked = 0;
    const isNeeded = async () => {
      asked += 1;
      if (asked === 2) expect(await store.layers.has(digestOf('oldest'))).toBe(false);
      return asked > 1;
    };
    expect(await evictLayer(store.layers, digestOf('oldest'), isNeeded)).toBe(false);
    expect(asked).toBe(2);
    expect(await left()).toEqual(hexes('oldest', 'middle', 'newest'));
  });

  test('puts back what nobody could tell about, and what was fetched anew meanwhile leaves nothing', async () => {
    let asked = 0;
    const away = async () => {
      asked += 1;
      if (asked === 2) throw new Error('Redis is away');
      return false;
    };
    await expect(evictLayer(store.layers, digestOf('oldest'), away)).rejects.toThrow('Redis is away');
    expect(await store.layers.has(digestOf('oldest'))).toBe(true);
    asked = 0;
    const fetched = async () => {
      asked += 1;
      if (asked === 2) await publishLayer(store, digestOf('oldest'));
      return asked === 2;
    };
    expect(await evictLayer(store.layers, digestOf('oldest'), fetched)).toBe(false);
    const folder = dirname(store.layers.directory(digestOf('oldest')));
    expect(new Set(await readdir(folder))).toEqual(hexes('oldest', 'middle', 'newest'));
  });

  test('keeps what cannot be put back', async () => {
    const { content } = store.layers;
    const aside = await content.setAside(digestOf('oldest'));
    if (aside === undefined) throw new Error('it was not there');
    await writeFile(content.path(digestOf('oldest')), 'what somebody has put in its place');
    await expect(content.putBack(aside, digestOf('oldest'))).rejects.toThrow(/put an entry back/);
    expect(await readdir(content.folder)).toContain(basename(aside));
  });

  test('of many evictors at once removes each layer once', async () => {
    const removed = await Promise.all(
      Array.from({ length: 8 }, () => evictLayers(store.layers, { bytes: all, isNeeded: nobody })),
    );
    expect(removed.flat()).toHaveLength(3);
    expect(await readdir(dirname(store.layers.directory(digestOf('oldest'))))).toEqual([]);
  });

  test('removes nothing in a dry run, nor where it would not be enough', async () => {
    expect(await evictLayers(store.layers, { bytes: all, isNeeded: nobody, dryRun: true })).toHaveLength(3);
    expect(await evictLayers(store.layers, { bytes: 1e9, isNeeded: nobody, onlyIfEnough: true })).toEqual([]);
    expect((await left()).size).toBe(3);
  });

  test('removes no more than what is enough, of what the caller has listed', async () => {
    const entries = await store.layers.list();
    expect(await evictLayers(store.layers, { bytes: all, isNeeded: nobody, entries: [] })).toEqual([]);
    const bytes = entries.find(({ hex }) => hex === hexOf('oldest'))?.allocatedBytes ?? 0;
    expect(await evictLayers(store.layers, { bytes, isNeeded: nobody, entries })).toHaveLength(1);
    expect(await left()).toEqual(hexes('middle', 'newest'));
  });

  test('reckons with what nobody needs alone, to the byte', async () => {
    const isNeeded = async (diffId: string) => diffId === digestOf('middle');
    const free = await evictLayers(store.layers, { bytes: all, isNeeded, dryRun: true });
    expect(free.map(({ hex }) => hex)).toEqual([hexOf('oldest'), hexOf('newest')]);
    const bytes = free.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
    expect(await evictLayers(store.layers, { bytes: bytes + 1, isNeeded, onlyIfEnough: true })).toEqual([]);
    expect(await evictLayers(store.layers, { bytes, isNeeded, onlyIfEnough: true })).toHaveLength(2);
    expect(await left()).toEqual(hexes('middle'));
  });
});
