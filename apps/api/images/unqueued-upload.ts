import { setTimeout as sleep } from 'node:timers/promises';
import type { Services } from '../services.ts';

/** Ms before the first look (a command that a request gave up on may still reach Redis), and between looks. */
const pauses = { first: 10_000, next: 30_000 };
/** Ms after which it is left to the housekeeping of a worker. */
const lastLook = 3600_000;

/**
 * Removes an upload whose task, as far as the API knows, could not be queued: Redis may have died after it did so and before
 * it answered. Asks again until Redis is back. Never rejects.
 */
export async function removeUnlessQueued(
  { store, tasks }: Pick<Services, 'store' | 'tasks'>,
  id: string,
  { first, next } = pauses,
): Promise<void> {
  const until = performance.now() + lastLook;
  for (let pause = first; performance.now() < until; pause = next) {
    await sleep(pause, undefined, { ref: false });
    try {
      if ((await tasks.find(id)) === null) await store.uploads.remove(id);
      return;
    } catch {
      // Redis is still away.
    }
  }
}
