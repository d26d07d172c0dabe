import { connectionOf, queueKey, type TaskQueue } from './queue.ts';

/** Ms that no pause between two attempts lasts (see `jobOptions`). */
const LONGEST_PAUSE = 60_000;

/** What BullMQ multiplies times with in the scores of delayed jobs (`getDelayedScore` in its scripts). */
const SCORE_OF_MS = 0x1000;

/** Looked at in one go; the others come with the next. */
const AT_MOST = 1000;

/**
 * Takes up tasks that wait for their next attempt until a time that no pause reaches. When that is, BullMQ reckons by the wall clock of
 * the worker that failed: one that is ahead, or is set back since, would have them wait for as long as it was wrong.
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
