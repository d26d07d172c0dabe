import { setTimeout as sleep } from 'node:timers/promises';
import { type TaskQueue, takeUpLateRetries } from '@bhatti/tasks';
import type { Logger } from 'pino';

/** Ms between looks. */
const INTERVAL = 10_000;

/** Starts tasks whose next attempt is overdue because a clock was wrong. Never rejects; ends when the signal aborts. */
export async function watchLateRetries(queue: TaskQueue, logger: Logger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // One look at a time: they would pile up while Redis is away.
    await takeUpLateRetries(queue).catch((error: unknown) => {
      if (!signal.aborted) logger.warn({ err: error }, 'cannot look for late retries');
    });
    await sleep(INTERVAL, undefined, { signal }).catch(() => {});
  }
}
