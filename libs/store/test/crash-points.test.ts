/**
 * What falls between two steps of the store. Somebody else takes an entry away before each look that it takes in turn. And a process
 * dies before each of its changes to the file system in turn: the promise of that change never settles, so nothing
 * after it happens, as after SIGKILL. Then the data directory is opened anew.
 */
import { existsSync } from 'node:fs';
import * as real from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, jest, test } from '@jest/globals';
import type { Store } from '../index.ts';
import { parseTemporaryName } from '../temporary-name.ts';
import {
  digestOf,
  hexOf,
  imageEntry,
  publishLayer,
  publishRootfs,
  record,
  temporaryDirectory,
} from './support/fixture.ts';

/** A hundred directories are synced: in memory, where there is such a disk, that takes a tenth of the time. */
const memory = existsSync('/dev/shm') ? '/dev/shm' : undefined;

/** Changes that the process may make yet. */
let left = Number.POSITIVE_INFINITY;
let die = () => {};

function mortal<Arguments extends unknown[], Result>(change: (...given: Arguments) => Promise<Result>) {
  return (...given: Arguments): Promise<Result> => {
    left -= 1;
    if (left >= 0) return change(...given);
    die();
    return new Promise(() => {});
  };
}

/** Looks at the file system before somebody else changes it. */
let looks = Number.POSITIVE_INFINITY;
let change = async () => {};

function interrupted<Arguments extends unknown[], Result>(look: (...given: Arguments) => Promise<Result>) {
  return async (...given: Arguments): Promise<Result> => {
    looks -= 1;
    if (looks === -1) await change();
    return look(...given);
  };
}

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  chmod: mortal(real.chmod),
  link: mortal(real.link),
  lstat: interrupted(real.lstat),
  mkdir: mortal(real.mkdir),
  open: mortal(interrupted(real.open)),
  readdir: interrupted(real.readdir),
  readFile: interrupted(real.readFile),
  rename: mortal(real.rename),
  rm: mortal(real.rm),
  stat: interrupted(real.stat),
  utimes: mortal(real.utimes),
  writeFile: mortal(real.writeFile),
}));
const { openStore, evictLayer, evictLayers } = await import('../index.ts');

/** What a process of before has left is, from now on, that of a dead one: in names, and in locks. */
async function bury(directory: string): Promise<void> {
  const dead = (name: string) => {
    const maker = parseTemporaryName(name);
    return maker === undefined ? undefined : name.replace(`~${maker.pid}~${maker.startTime}~`, `~${maker.pid}~1~`);
  };
  for (const entry of await real.readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await bury(path);
    const name = dead(entry.name);
    if (name !== undefined) await real.rename(path, join(directory, name));
    else if (entry.name.endsWith('.lock')) {
      const holder = dead(await real.readFile(path, 'utf8'));
      if (holder !== undefined) await real.writeFile(path, holder);
    }
  }
}

async function temporaryNamesIn(directory: string): Promise<string[]> {
  const names = await real.readdir(directory, { recursive: true });
  return names.filter((name) => name.includes('.tmp~'));
}

const key = hexOf('a root filesystem');
const other = hexOf('another');
const layer = digestOf('a layer');
const nobody = async () => false;
/** Somebody, who comes while it is taken away. */
const late = () => {
  let asked = 0;
  return async () => {
    asked += 1;
    return asked > 1;
  };
};

interface Scenario {
  readonly what: string;
  readonly before?: (store: Store) => Promise<unknown>;
  readonly dying: (store: Store) => Promise<unknown>;
  /** What must be true whenever the process died. */
  readonly after: (store: Store) => Promise<unknown>;
}

const image = async (store: Store) => {
  await publishRootfs(store, key);
  await store.images.put('ann', imageEntry('python', key));
};
const isWhole = async (store: Store, wanted = key) => {
  expect(await store.rootfs.read(wanted)).toMatchObject({ sizeBytes: record.sizeBytes });
  expect(await real.readFile(store.rootfs.path(wanted), 'utf8')).toMatch(/^(ext4|anew)$/);
};
const stands = async (store: Store) => {
  const entry = await store.images.get('ann', 'python');
  expect([key, other]).toContain(entry?.rootfsKey);
  await isWhole(store, entry?.rootfsKey);
};

const scenarios: readonly Scenario[] = [
  {
    what: 'a layer is published',
    dying: (store) => publishLayer(store, layer),
    after: async (store) => {
      if (await store.layers.has(layer)) {
        expect(await real.readFile(join(store.layers.directory(layer), 'data'), 'utf8')).toBe('content');
      }
    },
  },
  {
    what: 'a layer is published where a file lies in its place',
    before: (store) => real.writeFile(store.layers.directory(layer), 'a file'),
    dying: (store) => publishLayer(store, layer),
    after: async (store) => {
      await publishLayer(store, layer);
      expect(await real.readFile(join(store.layers.directory(layer), 'data'), 'utf8')).toBe('content');
    },
  },
  {
    what: 'an image is made and named',
    dying: image,
    after: async (store) => {
      if ((await store.images.list('ann')).length > 0) await stands(store);
      if (await store.rootfs.has(key)) await isWhole(store);
    },
  },
  {
    what: 'a name comes to stand for another image, and what it stood for is removed',
    before: async (store) => {
      await image(store);
      await publishRootfs(store, other);
    },
    dying: async (store) => {
      await store.images.put('ann', imageEntry('python', other));
      await store.removeUnreferenced({ isNeeded: nobody });
    },
    after: stands,
  },
  {
    what: 'a root filesystem is made anew in the place of the old one',
    before: image,
    dying: async (store) => {
      const anew = await store.rootfs.begin(key);
      await real.writeFile(anew.path, 'anew');
      await anew.writeRecord(record);
      await anew.publish({ replace: true });
    },
    after: stands,
  },
  {
    what: 'a root filesystem is taken away and put back',
    before: (store) => publishRootfs(store, key),
    dying: (store) => store.removeUnreferenced({ isNeeded: late() }),
    after: isWhole,
  },
  {
    what: 'a layer is taken away and put back',
    before: (store) => publishLayer(store, layer),
    dying: (store) => evictLayer(store.layers, layer, late()),
    after: async (store) => expect(await store.layers.has(layer)).toBe(true),
  },
  {
    what: 'a layer is removed',
    before: (store) => publishLayer(store, layer),
    dying: (store) => evictLayer(store.layers, layer, nobody),
    after: async (store) => {
      const names = await real.readdir(store.layers.directory(layer)).catch(() => ['data', 'index', 'unsynced']);
      expect(names.sort()).toEqual(['data', 'index', 'unsynced']);
    },
  },
  {
    what: 'a digest is added to a record, and all is synced',
    before: image,
    dying: async (store) => {
      const present = await store.rootfs.read(key);
      await store.rootfs.replaceRecord(key, present, { ...record, sha256: key });
      await store.syncPending();
    },
    after: stands,
  },
  {
    what: 'an image is deleted',
    before: image,
    dying: (store) => store.images.delete('ann', 'python'),
    after: async (store) => {
      if ((await store.images.list('ann')).length > 0) await stands(store);
    },
  },
  {
    what: 'an image is deleted that is confirmed to be meant',
    before: image,
    dying: (store) => store.images.delete('ann', 'python', async () => {}),
    after: async (store) => {
      if ((await store.images.list('ann')).length > 0) await stands(store);
    },
  },
  {
    what: 'a user is created',
    before: (store) => store.users.create('ann', 'user'),
    dying: (store) => store.users.create('bob', 'user'),
    after: async (store) => {
      await store.users.create('eve', 'user');
      const names = (await store.users.list()).map(({ name }) => name);
      expect(names.filter((name) => name !== 'bob')).toEqual(['ann', 'eve']);
    },
  },
  {
    what: 'an archive is received',
    dying: (store) => store.uploads.receive('tsk_a', Readable.from([Buffer.from('an archive')])),
    after: async (store) => expect([undefined, 10]).toContain(await store.uploads.size('tsk_a')),
  },
];

describe('a process dies while', () => {
  afterAll(() => {
    left = Number.POSITIVE_INFINITY;
  });

  test.each(scenarios)('$what: all is as before or as after, and nothing stays that is nobody’s', async (scenario) => {
    for (let survived = 0, done = false; !done; survived += 1) {
      const directory = await temporaryDirectory(memory);
      const store = await openStore(directory.path);
      await scenario.before?.(store);
      left = survived;
      const died = new Promise<'died'>((resolve) => {
        die = () => resolve('died');
      });
      done = (await Promise.race([died, scenario.dying(store)])) !== 'died';
      left = Number.POSITIVE_INFINITY;
      await bury(directory.path);
      const next = await openStore(directory.path);
      await next.collectOrphans();
      await scenario.after(next);
      expect(await temporaryNamesIn(directory.path)).toEqual([]);
      await directory.remove();
      if (done) expect(survived).toBeGreaterThan(0);
    }
  });
});

describe('somebody takes an entry away while', () => {
  const lookers: readonly { readonly what: string; readonly look: (store: Store) => Promise<unknown> }[] = [
    { what: 'the layers are listed', look: (store) => store.layers.list() },
    { what: 'layers are evicted', look: (store) => evictLayers(store.layers, { bytes: 1e9, isNeeded: nobody }) },
    { what: 'root filesystems are listed', look: (store) => store.rootfs.content.list() },
    { what: 'images are listed', look: (store) => store.images.list('ann') },
    {
      what: 'root filesystems without a name are removed',
      look: (store) => store.removeUnreferenced({ isNeeded: nobody }),
    },
    { what: 'all is synced', look: (store) => store.syncPending() },
    { what: 'orphans are collected', look: (store) => store.collectOrphans() },
    { what: 'partial downloads are looked at', look: (store) => store.partials.olderThan(-1) },
    { what: 'uploads are listed', look: (store) => store.uploads.list() },
    { what: 'the store is opened', look: (store) => openStore(store.directory) },
  ];

  test.each(lookers)('$what: nobody is stopped by that', async ({ look }) => {
    const blob = digestOf('a blob');
    const taken = (store: Store) => [
      store.layers.directory(layer),
      dirname(store.rootfs.path(key)),
      dirname(store.rootfs.path(other)),
      join(store.directory, 'images', 'ann', 'python.json'),
      store.partials.path(blob),
      store.uploads.path('tsk_a'),
    ];
    for (let seen = 0, done = false; !done; seen += 1) {
      const directory = await temporaryDirectory(memory);
      const store = await openStore(directory.path);
      await publishLayer(store, layer);
      await image(store);
      await publishRootfs(store, other);
      await store.uploads.receive('tsk_a', Readable.from([Buffer.from('an archive')]));
      await real.writeFile(store.partials.path(blob), 'bytes');
      // Opened anew, it has looked at nothing yet.
      const fresh = await openStore(directory.path);
      done = true;
      change = async () => {
        done = false;
        for (const path of taken(store)) await real.rm(path, { recursive: true, force: true });
      };
      looks = seen;
      await look(fresh);
      looks = Number.POSITIVE_INFINITY;
      await directory.remove();
      if (done) expect(seen).toBeGreaterThan(0);
    }
  });
});
