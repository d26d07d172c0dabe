import type { PullResult, TaskJob } from '@bhatti/tasks';
import { PullAttempt, type PullAttemptOptions } from './pull-attempt.ts';
import { JobStop, stopReason } from './stop.ts';

/** The BullMQ processor of tasks: hands each job to an attempt, and tells it when to stop. */
export class PullProcessor {
  readonly #options: PullAttemptOptions;
  #stopping = false;

  constructor(options: PullAttemptOptions) {
    this.#options = options;
  }

  /** Jobs that BullMQ still hands out while the worker closes go straight back. */
  stop(): void {
    this.#stopping = true;
  }

  /** @param signal aborted, with the reason, when the job is to stop. Rejects with the error that BullMQ is to record. */
  async process(job: TaskJob, token: string, signal: AbortSignal): Promise<PullResult> {
    const stop = new JobStop();
    const onAbort = () => stop.stop(stopReason(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    if (this.#stopping) stop.stop('worker_stopping');
    const letLockGo = this.#options.lock.keep(job, token, () => stop.stop('lock_lost'));
    try {
      return await new PullAttempt(this.#options, job, token, stop).run();
    } finally {
      letLockGo();
      signal.removeEventListener('abort', onAbort);
    }
  }
}
