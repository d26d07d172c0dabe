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
/** Redis refuses a command: its own disk is full, it fails over, it loads. */
const redisRefusal = z.object({ name: z.literal('ReplyError'), message: z.string() });
const withCause = z.object({ cause: z.unknown() });
const systemError = z.object({ code: z.string() });

/** Causes looked at; a chain of them may be a ring. */
const CAUSE_DEPTH = 8;

/** Names any thrown value. A full disk is `no_space`, however deep in the causes; the unforeseen is `internal`. */
export function describeFailure(error: unknown): Failure {
  if (isDiskFull(error)) {
    return {
      code: 'no_space',
      message: 'no space left on the disk of the data directory; free some and pull again',
      retryable: false,
    };
  }
  const coded = codedError.safeParse(error);
  if (coded.success) return coded.data;
  const refusal = redisRefusal.safeParse(error);
  if (refusal.success) {
    return { code: 'redis_unavailable', message: `Redis refused a command: ${refusal.data.message}`, retryable: true };
  }
  return { code: 'internal', message: withoutUrlSecrets(messageOf(error)), retryable: false };
}

/** Signed URLs carry secrets in the query, others in the user part; an unforeseen error may quote one. */
export function withoutUrlSecrets(text: string): string {
  return text.replace(/(https?:\/\/)(?:[^\s/@]*@)?([^\s?#"'<>]*)[^\s"'<>]*/gi, '$1$2');
}

function isDiskFull(error: unknown, depth = 0): boolean {
  const system = systemError.safeParse(error);
  if (system.success && (system.data.code === 'ENOSPC' || system.data.code === 'EDQUOT')) return true;
  const nested = withCause.safeParse(error);
  return (
    depth < CAUSE_DEPTH && nested.success && nested.data.cause !== undefined && isDiskFull(nested.data.cause, depth + 1)
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
