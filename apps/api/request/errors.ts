import { systemFailure } from '@bhatti/store';
import { refusalOf } from '@bhatti/tasks';
import * as z from 'zod';
import type { Problem } from '../api-schema.ts';

/** An error that the API answers with: the HTTP status, a stable code, a message that says what to do, extra headers. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    message: string,
    options: { cause?: unknown; headers?: Record<string, string> } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = status;
    this.code = code;
    this.headers = options.headers ?? {};
  }
}

/** Seconds after which a client may try again when Redis is away: reconnects are tried at least this often. */
const redisRetrySeconds = 2;

export function redisUnavailable(cause?: unknown): ApiError {
  const refusal = refusalOf(cause);
  const message =
    refusal === undefined
      ? 'the task queue (Redis) does not answer; nothing is lost, try again in a few seconds'
      : `the task queue (Redis) refuses to work (${refusal.word}); nothing is lost, try again later`;
  return new ApiError(503, 'redis_unavailable', message, {
    cause,
    headers: { 'Retry-After': String(redisRetrySeconds) },
  });
}

export function stopping(): ApiError {
  return new ApiError(503, 'stopping', 'the server is stopping; try again in a few seconds', {
    headers: { 'Retry-After': String(redisRetrySeconds), Connection: 'close' },
  });
}

/** Seconds after which a client may try again when there are too many tasks: some should have ended by then. */
const limitRetrySeconds = 10;

/** The error classes of the libs share this shape (see CONTRIBUTING); only its code decides the status here. */
const codedError = z.object({ code: z.string().regex(/^[a-z][a-z0-9_]*$/), message: z.string() });

const statusByCode: Readonly<Record<string, number>> = {
  invalid_reference: 400,
  invalid_name: 400,
  invalid_platform: 400,
  invalid_request: 400,
  not_found: 404,
  task_ended: 409,
  idempotency_key_reused: 422,
  queue_full: 429,
  too_many_tasks: 429,
  // For the operator to fix, so they keep their codes: "internal" would say nothing.
  not_writable: 500,
  disk_failed: 500,
  rootfs_damaged: 500,
  out_of_resources: 503,
  redis_unavailable: 503,
  no_space: 507,
};

/** What body-parser throws: an HTTP status, and `type` naming the reason; a body that does not decompress has none. */
const bodyError = z.object({ status: z.int().min(400).max(499), type: z.string().default('') });

const bodyErrors: Readonly<Record<string, { code: string; message: string }>> = {
  'entity.parse.failed': { code: 'invalid_request', message: 'the body is not valid JSON' },
  'entity.too.large': { code: 'too_large', message: 'the body is too large for this route' },
  'encoding.unsupported': {
    code: 'unsupported_media_type',
    message: 'the Content-Encoding of the body is not supported; send it plain, or with gzip',
  },
  'charset.unsupported': { code: 'unsupported_media_type', message: 'the body must be JSON in UTF-8' },
  'request.aborted': { code: 'invalid_request', message: 'the body ended before its Content-Length' },
  'request.size.invalid': { code: 'invalid_request', message: 'the body does not have its Content-Length' },
};

/** What a thrown value means for the client. Anything unrecognised is a 500 that reveals nothing internal. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const coded = codedError.safeParse(error);
  const status = coded.success ? statusByCode[coded.data.code] : undefined;
  if (coded.success && status !== undefined) {
    return codedApiError(status, coded.data, error);
  }
  const system = systemFailure(error);
  if (system !== undefined) return codedApiError(statusByCode[system.code] ?? 500, system, error);
  if (error instanceof URIError) {
    return new ApiError(400, 'invalid_request', 'the path is not valid percent-encoding', { cause: error });
  }
  const body = bodyError.safeParse(error);
  if (body.success) {
    const { code, message } = bodyErrors[body.data.type] ?? {
      code: 'invalid_request',
      message: 'the body could not be read; send JSON in UTF-8, plain or with the Content-Encoding that is named',
    };
    return new ApiError(body.data.status, code, message, { cause: error });
  }
  return new ApiError(500, 'internal', 'internal error; the log of the server has the details under this request id', {
    cause: error,
  });
}

/** The body of an error response. */
export function problemOf({ message, code }: ApiError, requestId: string): z.input<typeof Problem> {
  return { error: message, code, request_id: requestId };
}

function codedApiError(status: number, { code, message }: z.output<typeof codedError>, cause: unknown): ApiError {
  const isBusy = status === 429 || code === 'out_of_resources';
  const headers: Record<string, string> = isBusy ? { 'Retry-After': String(limitRetrySeconds) } : {};
  return new ApiError(status, code, message, { cause, headers });
}
