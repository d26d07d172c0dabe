import { setTimeout as sleep } from 'node:timers/promises';
import { refusalOf } from '@bhatti/tasks';
import type { AttemptLog } from './attempt-log.ts';
import { describeFailure } from './failure.ts';
import type { JobOwnership } from './job-ownership.ts';

export interface DespiteRefusalsOptions {
  readonly ownership: JobOwnership;
  readonly log: AttemptLog;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

/** Ms before a Redis that refuses commands is asked again. */
const PAUSE = 2_000;

/**
 * Does the work, again if need be, while Redis refuses commands for a reason that passes: its memory or its disk is full, it fails
 * over. Such a Redis may still hand out tasks, so if they failed, all that wait would do so, one after another, within seconds.
 */
export async function despiteRefusals<Result>(
  options: DespiteRefusalsOptions,
  work: () => Promise<Result>,
): Promise<Result> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (options.signal.aborted || !isPassingRefusal(error)) throw error;
      await untilAccepted(options, error);
    }
  }
}

/** Whether Redis may accept the same command later, without anybody having changed its settings. */
export function isPassingRefusal(error: unknown): boolean {
  return refusalOf(error)?.passes === true;
}

async function untilAccepted({ ownership, log, signal }: DespiteRefusalsOptions, error: unknown): Promise<void> {
  const { code, message } = describeFailure(error);
  log.logger.warn({ code }, `the task waits for Redis to accept its commands: ${message}`);
  do {
    await sleep(PAUSE, undefined, { signal });
  } while (!(await acceptsWrites(ownership)));
  await log.note('goes on: Redis accepts commands again');
}

async function acceptsWrites(ownership: JobOwnership): Promise<boolean> {
  try {
    await ownership.renew();
    return true;
  } catch (error) {
    if (isPassingRefusal(error)) return false;
    throw error;
  }
}
