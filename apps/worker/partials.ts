import { LEASE_TTL, layerLease, takeLease } from '@bhatti/tasks';
import type { PullServices } from './services.ts';

/**
 * Removes the partial downloads of a task that has come to its end, except those that another task wants or is fetching
 * this moment, and then gives up its claims. A completed task can have left some, too: its tag pointed to another image
 * when an earlier attempt began, or a worker died between publishing a layer and this.
 */
export async function freePartials(services: PullServices, taskId: string): Promise<void> {
  const { partial } = services.claims;
  for (const digest of await partial.of(taskId)) await freePartial(services, taskId, digest);
  await partial.release(taskId);
}

async function freePartial({ claims, redis, store }: PullServices, taskId: string, digest: string): Promise<void> {
  if (!(await store.partials.has(digest))) return;
  // Whoever fetches the blob has its lease. One that gets it after us begins anew.
  const lease = await takeLease(redis, layerLease(digest), { ttl: LEASE_TTL, signal: new AbortController().signal });
  if (lease === null) return;
  try {
    if (!(await claims.partial.isWanted(digest, taskId))) await store.partials.remove(digest);
  } finally {
    await lease.release();
  }
}
