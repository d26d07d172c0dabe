import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ImageEntry, RootfsRecord, Store } from '../../index.ts';

export function hexOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function digestOf(text: string): string {
  return `sha256:${hexOf(text)}`;
}

export async function temporaryDirectory(parent = tmpdir()): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(parent, 'bhatti-store-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export async function publishLayer(store: Store, diffId: string, content = 'content'): Promise<void> {
  const layer = await store.layers.begin(diffId);
  await writeFile(join(layer.directory, 'data'), content);
  await writeFile(join(layer.directory, 'index'), 'index');
  await layer.publish();
}

export const record: RootfsRecord = {
  sizeBytes: 2 ** 29,
  allocatedBytes: 4096,
  createdAt: '2026-01-02T03:04:05.678Z',
  warnings: ['no /bin/sh'],
};

export async function publishRootfs(store: Store, key: string): Promise<void> {
  const rootfs = await store.rootfs.begin(key);
  await writeFile(rootfs.path, 'ext4');
  await rootfs.writeRecord(record);
  await rootfs.publish();
}

export function imageEntry(name: string, rootfsKey: string): ImageEntry {
  return {
    name,
    rootfsKey,
    reference: 'docker.io/library/python:3.12',
    manifestDigest: digestOf('manifest'),
    platform: 'linux/amd64',
    sizeBytes: record.sizeBytes,
    allocatedBytes: record.allocatedBytes,
    createdAt: record.createdAt,
    config: { env: ['PATH=/bin'], cmd: ['python3'] },
    warnings: [],
  };
}

/** Names in a folder that are no finished entries. */
export async function unfinishedIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith('.'));
}
