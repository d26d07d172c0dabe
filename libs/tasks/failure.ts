import { UnrecoverableError } from 'bullmq';
import * as z from 'zod';
import { counted } from './counted.ts';

/** Why a task failed. The code is stable, snake_case; the message is for people. */
export const TaskFailure = z.object({ code: z.string(), message: z.string() });
export type TaskFailure = z.output<typeof TaskFailure>;

const encoded = /^([a-z][a-z0-9_]{0,63}): ([\s\S]*)$/;

/** BullMQ's reasons when `maxStalledCount` (moveStalledJobsToWait) or `maxStartedAttempts` is exceeded. */
const crashReasons = new Set(['job stalled more than allowable limit', 'job started more than allowable limit']);

/** A failure as the `failedReason` of a job, in a form that operators can read: `code: message`. */
export function encodeFailure(failure: TaskFailure): string {
  return `${failure.code}: ${failure.message}`;
}

/**
 * Parses a `failedReason`; one that is not from `encodeFailure` is `internal`.
 *
 * @param deaths how often workers died while processing the job (its `stalledCounter`), if known
 */
export function parseFailure(reason: string, deaths?: number): TaskFailure {
  if (crashReasons.has(reason)) {
    return {
      code: 'worker_crashed',
      message: `the worker process died or hung ${deaths === undefined ? 'again and again' : counted(deaths, 'time')} while it worked on this task; the log of the workers tells why`,
    };
  }
  const match = encoded.exec(reason);
  if (match?.[1] === undefined || match[2] === undefined) return { code: 'internal', message: reason };
  return { code: match[1], message: match[2] };
}

/**
 * The error for a BullMQ processor to throw: it becomes the job's `failedReason`, and the job is retried only if the failure is
 * `retryable`.
 */
export function jobError(failure: TaskFailure & { readonly retryable: boolean }): Error {
  const reason = encodeFailure(failure);
  return failure.retryable ? new Error(reason) : new UnrecoverableError(reason);
}
