import { connectionOf, queueKey, type TaskQueue } from './queue.ts';

/** Ms; longer than any pause between two attempts (see `jobOptions`). */
const LONGEST_PAUSE = 60_000;

/** Factor of the time in the scores of BullMQ's delayed jobs (`getDelayedScore` in its scripts). */
const SCORE_OF_MS = 0x1000;

/** Most jobs per call; the next call takes the others. */
const AT_MOST = 1000;

/**
 * Promotes tasks whose next attempt is further away than any pause. BullMQ computes its time with the wall clock of the worker that
 * failed: if that was ahead, or has been set back since, the task would wait for as long as the clock was wrong.
 */
export async function takeUpLateRetries(queue: TaskQueue): Promise<void> {
  const late = (Date.now() + LONGEST_PAUSE) * SCORE_OF_MS;
  const ids = await connectionOf(queue).zrevrangebyscore(queueKey('delayed'), '+inf', late, 'LIMIT', 0, AT_MOST);
  for (const id of ids) {
    const job = await queue.getJob(id);
    // Another worker was faster.
    await job?.promote().catch(() => {});
  }
}
