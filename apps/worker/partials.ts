import { LEASE_TTL, layerLease, withLease } from '@bhatti/tasks';
import type { PullServices } from './services.ts';
import { tidy } from './tidy.ts';

/** Ms: a week. */
const OLD = 7 * 24 * 3600 * 1000;

/** Ms between looks at a download whose lease another has, and how many of them: the lease of a dead worker runs out before. */
const INTERVAL = 100;
const LOOKS = (2 * LEASE_TTL) / INTERVAL;

type PartialServices = Pick<PullServices, 'claims' | 'redis' | 'store' | 'logger'>;

/**
 * Removes the partial downloads of a task that has come to its end, except those that another task wants, and then gives up its
 * claims. A completed task can have left some, too: its tag pointed to another image when an earlier attempt began, or a worker
 * died between publishing a layer and this.
 */
export async function freePartials(services: PartialServices, taskId: string): Promise<void> {
  const { partial } = services.claims;
  for (const digest of await partial.of(taskId)) {
    // Before the look at who else wants it: of tasks that end together, each would find the others, and leave it to them.
    await partial.withdraw(taskId, digest);
    await freePartial(services, digest);
  }
  await partial.release(taskId);
}

/**
 * Removes partial downloads that nobody continued for a week, and no task wants: ended tasks are kept that long. A clock that is
 * wrong costs bytes that nobody needs.
 */
export async function freeOldPartials(services: PartialServices): Promise<void> {
  for (const digest of await services.store.partials.olderThan(OLD)) await freePartial(services, digest);
}

/**
 * Removes it unless a task wants it. Who else has its lease is about to do the same, or fetches it: then the task claims it. One that
 * gets the lease after us begins anew.
 */
async function freePartial({ claims, redis, store, logger }: PartialServices, digest: string): Promise<void> {
  let looks = 0;
  const isSettled = async () => {
    looks++;
    const isLeft = looks > LOOKS || !(await store.partials.has(digest)) || (await claims.partial.isWanted(digest));
    return isLeft || undefined;
  };
  const { signal } = new AbortController();
  const options = { ttl: LEASE_TTL, signal, recheck: isSettled, pollInterval: INTERVAL };
  await withLease(redis, layerLease(digest), options, async () => {
    await tidy({ logger }, () => store.partials.remove(digest));
    return true;
  });
}
