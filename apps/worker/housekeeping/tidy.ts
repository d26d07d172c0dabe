import { taskLogger } from '../job/task-log.ts';
import type { PullServices } from '../services.ts';

/**
 * Removes what a task no longer needs. A failure to do so does not change how the task ends: it is logged, and the file left
 * to housekeeping.
 */
export async function tidy({ logger }: Pick<PullServices, 'logger'>, remove: () => Promise<unknown>): Promise<void> {
  try {
    await remove();
  } catch (error) {
    taskLogger(logger).warn({ err: error }, 'cannot remove what is needed no more; left to housekeeping');
  }
}
