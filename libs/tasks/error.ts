export type TaskErrorCode =
  | 'cancelled'
  | 'idempotency_key_reused'
  | 'internal'
  | 'invalid_request'
  | 'not_found'
  | 'queue_full'
  | 'redis_unavailable'
  | 'secret_key_mismatch'
  | 'task_ended'
  | 'too_many_tasks'
  | 'worker_crashed';

/** A failure of the queue or of a task in it, with a stable code, and whether trying again can help. */
export class TaskError extends Error {
  override readonly name = 'TaskError';
  readonly code: TaskErrorCode;
  readonly retryable: boolean;

  constructor(code: TaskErrorCode, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}
