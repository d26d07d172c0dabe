import * as z from 'zod';

/**
 * Why a running job is told to stop: its task was cancelled; the worker process ends, and another takes the job; or the
 * job's lock went to another worker already (this process hung, or Redis was away).
 */
const stopReasons = z.enum(['cancelled', 'worker_stopping', 'lock_lost']);
export type StopReason = z.output<typeof stopReasons>;

/** Parses the reason of an abort by `RunningTasks`; anything unknown is a cancellation. */
export function stopReason(reason: unknown): StopReason {
  return stopReasons.safeParse(reason).data ?? 'cancelled';
}

/** The reason of the abort signal that every step of a job gets. */
class JobStopped extends Error {
  override readonly name = 'JobStopped';
  readonly reason: StopReason;

  constructor(reason: StopReason) {
    super(`the job was stopped: ${reason}`);
    this.reason = reason;
  }
}

/** The controller through which a job is stopped; the first reason counts. */
export class JobStop {
  readonly #controller = new AbortController();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Undefined while the job goes on. */
  get reason(): StopReason | undefined {
    const reason: unknown = this.signal.reason;
    return reason instanceof JobStopped ? reason.reason : undefined;
  }

  stop(reason: StopReason): void {
    this.#controller.abort(new JobStopped(reason));
  }
}
