import { fileDigest } from '@bhatti/rootfs';
import type { Store } from '@bhatti/store';

/**
 * Takes the SHA-256 of every root filesystem whose record lacks it, and adds it. After the publish, because nobody who waits for an
 * image needs it: it takes 0.73 s of the processor's time a GiB, holes too. What a worker leaves undone when it stops or dies, the next
 * round of housekeeping finds. Rejects with the first failure, after all others.
 */
export async function recordDigests(store: Store, signal: AbortSignal): Promise<void> {
  const failures: unknown[] = [];
  for (const hex of await store.rootfs.content.digests()) {
    if (signal.aborted) return;
    try {
      const record = await store.rootfs.read(hex);
      if (record.sha256 !== undefined) continue;
      const sha256 = await fileDigest(store.rootfs.path(hex), signal);
      // Not of one that a forced pull has put in its place meanwhile, which may have other bytes.
      await store.rootfs.replaceRecord(hex, record, { ...record, sha256 });
    } catch (error) {
      if (signal.aborted) return;
      // Removed meanwhile, or bad: the others have theirs taken all the same.
      if (await store.rootfs.content.has(hex)) failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
