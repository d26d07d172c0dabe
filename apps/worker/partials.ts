import { takeLease } from '@bhatti/tasks';
import { LEASE_TTL, layerLease, type PullServices } from './services.ts';

/**
 * Removes the partial downloads of a task that will not continue them (it was cancelled, or the disk is full), except
 * those that another task wants or is fetching this moment. The task's claims are gone after it.
 */
export async function freePartials(services: PullServices, taskId: string): Promise<void> {
  const { claims, redis, store } = services;
  for (const digest of await claims.release(taskId)) {
    // Whoever fetches the blob has its lease. One that gets it after us begins anew.
    const lease = await takeLease(redis, layerLease(digest), { ttl: LEASE_TTL, signal: new AbortController().signal });
    if (lease === null) continue;
    try {
      if (!(await claims.isWanted(digest))) await store.partials.remove(digest);
    } finally {
      await lease.release();
    }
  }
}
