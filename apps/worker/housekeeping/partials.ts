import { LEASE_TTL, layerLease, withLease } from '@bhatti/tasks';
import type { PullServices } from '../services.ts';
import { tidy } from './tidy.ts';

/** Ms: a week. */
const OLD = 7 * 24 * 3600 * 1000;

/** Ms between attempts at a lease that another holds, and how many: that of a dead worker runs out before the last one. */
const INTERVAL = 100;
const LOOKS = (2 * LEASE_TTL) / INTERVAL;

type PartialServices = Pick<PullServices, 'claims' | 'redis' | 'store' | 'logger'>;

/**
 * Removes the partial downloads of a task that has ended, except those that another task wants, and releases its claims. Even
 * a completed task may have left some: its tag pointed to another image during an earlier attempt, or a worker died between
 * publishing a layer and this.
 */
export async function freePartials(services: PartialServices, taskId: string): Promise<void> {
  const { partial } = services.claims;
  for (const digest of await partial.of(taskId)) {
    // Before checking who else wants it: tasks that end together would otherwise leave it to each other.
    await partial.withdraw(taskId, digest);
    await freePartial(services, digest);
  }
  await partial.release(taskId);
}

/**
 * Removes partial downloads that nobody has continued for a week, as long as ended tasks are kept, and that no task wants. A
 * wrong clock costs only bytes that nobody needs.
 */
export async function freeOldPartials(services: PartialServices): Promise<void> {
  for (const digest of await services.store.partials.olderThan(OLD)) await freePartial(services, digest);
}

/**
 * Removes it unless a task wants it. Another holder of its lease is about to remove it, too, or is downloading it for a task
 * that claims it. A download that gets the lease after us starts from the first byte.
 */
async function freePartial({ claims, redis, store, logger }: PartialServices, digest: string): Promise<void> {
  let looks = 0;
  const isSettled = async () => {
    looks++;
    const isLeft = looks > LOOKS || !(await store.partials.has(digest)) || (await claims.partial.isWanted(digest));
    return isLeft || undefined;
  };
  const options = { recheck: isSettled, pollInterval: INTERVAL };
  await withLease(redis, layerLease(digest), options, async () => {
    await tidy({ logger }, () => store.partials.remove(digest));
    return true;
  });
}
