import { LEASE_TTL, layerLease, takeLease } from '@bhatti/tasks';
import type { PullServices } from './services.ts';
import { tidy } from './tidy.ts';

/** Ms: a week. */
const OLD = 7 * 24 * 3600 * 1000;

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

/**
 * Removes partial downloads that nobody continued for a week, and no task wants: ended tasks are kept that long. A clock that is
 * wrong costs bytes that nobody needs.
 */
export async function freeOldPartials(services: PullServices): Promise<void> {
  for (const digest of await services.store.partials.olderThan(OLD)) await freePartial(services, undefined, digest);
}

/** Removes it unless a task, other than the one named, wants it. */
async function freePartial(services: PullServices, taskId: string | undefined, digest: string): Promise<void> {
  const { claims, redis, store } = services;
  if (!(await store.partials.has(digest))) return;
  // Whoever fetches the blob has its lease. One that gets it after us begins anew.
  const lease = await takeLease(redis, layerLease(digest), { ttl: LEASE_TTL, signal: new AbortController().signal });
  if (lease === null) return;
  try {
    if (!(await claims.partial.isWanted(digest, taskId))) await tidy(services, () => store.partials.remove(digest));
  } finally {
    await lease.release();
  }
}
