import { createHash, randomBytes } from 'node:crypto';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageEntry, Store } from '@bhatti/store';
import { eventually } from '../../../../test/support/eventually.ts';

/** Puts an image into the catalog whose root file system is a few bytes, or `content`, with a hole up to `sizeBytes`. */
export async function putImage(
  store: Store,
  image: Pick<ImageEntry, 'name'> & Partial<ImageEntry>,
  owner = 'local',
  {
    content = 'not really a file system',
    ...recorded
  }: { content?: string | Buffer; sha256?: string; overlay?: string } = {},
): Promise<ImageEntry> {
  const entry: ImageEntry = {
    rootfsKey: randomBytes(32).toString('hex'),
    reference: 'docker.io/library/alpine:3.20',
    manifestDigest: `sha256:${'a'.repeat(64)}`,
    platform: 'linux/amd64',
    sizeBytes: Buffer.byteLength(content),
    allocatedBytes: 4096,
    createdAt: '2026-01-02T03:04:05.000Z',
    config: { env: ['PATH=/bin'], cmd: ['/bin/sh'] },
    warnings: [],
    ...image,
  };
  const publication = await store.rootfs.begin(entry.rootfsKey);
  await writeFile(publication.path, content);
  await truncate(publication.path, entry.sizeBytes);
  await publication.writeRecord({ ...entry, ...recorded });
  await publication.publish();
  await store.images.put(owner, entry);
  return entry;
}

/** Records the SHA-256 of a root filesystem, as a worker does some time after its build. */
export async function recordDigest(store: Store, rootfsKey: string, sha256: string): Promise<void> {
  const record = await store.rootfs.read(rootfsKey);
  await store.rootfs.replaceRecord(rootfsKey, record, { ...record, sha256 });
}

/**
 * Resolves when a deletion has removed the root filesystem, which goes on after its answer. Until then it looks at what a test
 * puts meanwhile, too: a task would claim that, `putImage` does not.
 */
export async function untilRemoved(store: Store, { rootfsKey }: Pick<ImageEntry, 'rootfsKey'>): Promise<void> {
  await eventually(async () => !(await store.rootfs.has(rootfsKey)));
}

/** Puts a layer into the cache, and returns its diff_id. */
export async function putLayer(store: Store, content: string): Promise<string> {
  const diffId = `sha256:${createHash('sha256').update(content).digest('hex')}`;
  const layer = await store.layers.begin(diffId);
  for (const name of ['data', 'index']) await writeFile(join(layer.directory, name), content);
  await layer.publish();
  return diffId;
}
