import type { PullServices } from './services.ts';
import { taskLogger } from './task-log.ts';

/**
 * Removes what a task needs no more. How the task ended is what counts: a failure to remove is logged, and the file left to who comes
 * next, housekeeping at the latest.
 */
export async function tidy({ logger }: Pick<PullServices, 'logger'>, remove: () => Promise<unknown>): Promise<void> {
  try {
    await remove();
  } catch (error) {
    taskLogger(logger).warn({ err: error }, 'cannot remove what is needed no more; left to housekeeping');
  }
}
