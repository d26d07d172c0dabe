import { systemFailure } from '@bhatti/store';
import { errorReplyOf } from '@bhatti/tasks';
import * as z from 'zod';

/** What went wrong with a task, as users and operators see it. */
export interface Failure {
  /** Stable, snake_case. */
  readonly code: string;
  readonly message: string;
  /** Whether trying again can help. */
  readonly retryable: boolean;
}

/** A failure that the worker itself finds. The libraries have their own classes of the same shape. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  readonly code: string;
  readonly retryable: boolean;

  constructor(code: string, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

const codedError = z.object({
  code: z.string().regex(/^[a-z][a-z0-9_]*$/),
  message: z.string(),
  retryable: z.boolean(),
});

/**
 * Describes any thrown value. A full disk is `no_space`, however deep in the causes. Other failures of the disk or the host
 * have their codes where the error has no better one itself. The unforeseen is `internal`.
 */
export function describeFailure(error: unknown): Failure {
  const system = systemFailure(error);
  if (system?.code === 'no_space') {
    return {
      code: 'no_space',
      message: 'no space left on the disk of the data directory; free some and try again',
      retryable: false,
    };
  }
  const coded = codedError.safeParse(error);
  if (coded.success && (coded.data.code !== 'internal' || system === undefined)) return coded.data;
  if (system !== undefined) return system;
  const reply = errorReplyOf(error);
  if (reply !== undefined) {
    return { code: 'redis_unavailable', message: `Redis refused a command: ${reply}`, retryable: true };
  }
  return { code: 'internal', message: withoutUrlSecrets(messageOf(error)), retryable: false };
}

/** Whether the message alone is too little for the log. */
export function isUnexplained({ code }: Failure): boolean {
  return code === 'internal' || code === 'disk_failed' || code === 'out_of_resources';
}

/** Signed URLs carry secrets in the query, others in the user part; an unforeseen error may quote one. */
export function withoutUrlSecrets(text: string): string {
  return text.replace(/(https?:\/\/)(?:[^\s/?#]*@)?([^\s?#"'<>]*)[^\s"'<>]*/gi, '$1$2');
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
