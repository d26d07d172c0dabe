import { fileDigest } from '@bhatti/rootfs';
import type { Store } from '@bhatti/store';

/**
 * Adds the SHA-256 to the record of every root filesystem that lacks it. This happens after the publish, because nobody who
 * waits for an image needs it, and it costs 0.73 s of CPU time a GiB, holes included. If the worker stops or dies before, the
 * next round of housekeeping does it. Rejects with the first failure, after trying the others.
 */
export async function recordDigests(store: Store, signal: AbortSignal): Promise<void> {
  const failures: unknown[] = [];
  for (const hex of await store.rootfs.content.digests()) {
    if (signal.aborted) return;
    try {
      const record = await store.rootfs.read(hex);
      if (record.sha256 !== undefined) continue;
      const sha256 = await fileDigest(store.rootfs.path(hex), signal);
      // Has no effect if a forced pull has replaced the file meanwhile, whose bytes may differ.
      await store.rootfs.replaceRecord(hex, record, { ...record, sha256 });
    } catch (error) {
      if (signal.aborted) return;
      // One that was removed meanwhile is no failure.
      if (await store.rootfs.content.has(hex)) failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
