import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openStore } from '@bhatti/store';
import { expect, test } from '@jest/globals';
import { recordDigests } from '../housekeeping/rootfs-digests.ts';

test('one root filesystem with a bad record does not keep the others from their digests', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-digests-'));
  try {
    const store = await openStore(directory);
    const keys = ['a', 'b', 'c'].map((text) => text.repeat(64));
    for (const key of keys) {
      const rootfs = await store.rootfs.begin(key);
      await writeFile(rootfs.path, key);
      await rootfs.writeRecord({
        sizeBytes: 64,
        allocatedBytes: 4096,
        createdAt: new Date().toISOString(),
        warnings: [],
      });
      await rootfs.publish();
    }
    const [bad = '', ...good] = await store.rootfs.content.digests();
    await writeFile(join(dirname(store.rootfs.path(bad)), 'image.json'), '{');

    await expect(recordDigests(store, new AbortController().signal)).rejects.toMatchObject({ code: 'internal' });
    for (const key of good) {
      expect((await store.rootfs.read(key)).sha256).toBe(createHash('sha256').update(key).digest('hex'));
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});
