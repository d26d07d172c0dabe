import { z } from 'zod';
import * as schema from './api-schema.ts';
import { CliError, systemErrorCode } from './cli-error.ts';
import { type Endpoint, type HttpRequest, openHttpConnection } from './http-connection.ts';
import type { RequestTiming } from './timing.ts';

/** The server answered with an error: `status` of HTTP, `code` stable, `message` the server's own words. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | undefined;

  constructor(status: number, code: string, message: string, requestId: string | undefined) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

/** Nothing answered at the endpoint, or it stopped answering. `systemCode` as Node or undici gives it. */
export class UnreachableError extends Error {
  readonly systemCode: string;

  constructor(systemCode: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UnreachableError';
    this.systemCode = systemCode;
  }
}

/** The API over HTTP. Every method rejects with ApiError, UnreachableError, or CliError `not_bhatti` for garbage. */
export interface ApiClient {
  readonly endpoint: Endpoint;
  health(timeout: number): Promise<schema.Health>;
  pull(request: schema.PullRequest): Promise<schema.PullAnswer>;
  /** The task; with `wait` (seconds) answered when its progress line is no longer `seen` ('' for none), it ended, or the time is over. */
  task(id: string, poll?: { wait: number; seen: string }): Promise<schema.Task>;
  cancelTask(id: string): Promise<schema.Task>;
  images(): Promise<schema.Image[]>;
  image(name: string): Promise<schema.Image>;
  deleteImage(name: string): Promise<void>;
  close(): void;
}

export interface ApiClientOptions {
  readonly onTiming?: (timing: RequestTiming) => void;
}

export function createApiClient(endpoint: Endpoint, options: ApiClientOptions = {}): ApiClient {
  const connection = openHttpConnection(endpoint);

  async function send(request: HttpRequest) {
    try {
      const { text, ...timing } = await connection.send(request);
      options.onTiming?.({ method: request.method, path: request.path.replace(/\?.*/, ''), ...timing });
      return { status: timing.status, text };
    } catch (error) {
      throw unreachable(endpoint, error);
    }
  }

  async function call<Schema extends z.ZodType>(answer: Schema, request: HttpRequest): Promise<z.output<Schema>> {
    const { status, text } = await send(request);
    const json = parseJson(text);
    if (status >= 400) throw refusal(endpoint, status, json);
    const parsed = answer.safeParse(json);
    if (!parsed.success) {
      throw new CliError('not_bhatti', `${describeEndpoint(endpoint)} answers, but not as a bhatti server does`, {
        cause: parsed.error,
        hint: 'Check the URL, and that client and server are of about the same version (bhatti version).',
      });
    }
    return parsed.data;
  }

  return {
    endpoint,
    health: (timeout) => call(schema.health, { method: 'GET', path: '/health', timeout }),
    pull: (body) => call(schema.pullAnswer, { method: 'POST', path: '/images/pull', body }),
    task: (id, poll) =>
      call(schema.task, { method: 'GET', path: `/tasks/${encodeURIComponent(id)}${pollQuery(poll)}` }),
    cancelTask: (id) => call(schema.task, { method: 'DELETE', path: `/tasks/${encodeURIComponent(id)}` }),
    images: async () => (await call(schema.imageList, { method: 'GET', path: '/images' })).images,
    image: (name) => call(schema.image, { method: 'GET', path: `/images/${encodeURIComponent(name)}` }),
    deleteImage: async (name) => {
      await call(z.unknown(), { method: 'DELETE', path: `/images/${encodeURIComponent(name)}` });
    },
    close: () => connection.close(),
  };
}

/** The endpoint as an error message names it; never with a password that stands in the URL. */
export function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === 'url' ? endpoint.url.origin + endpoint.url.pathname.replace(/\/+$/, '') : endpoint.path;
}

function pollQuery(poll: { wait: number; seen: string } | undefined): string {
  if (poll === undefined) return '';
  return `?${new URLSearchParams({ wait: String(poll.wait), seen: poll.seen })}`;
}

function parseJson(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusal(endpoint: Endpoint, status: number, json: unknown): Error {
  const body = schema.errorBody.safeParse(json);
  if (status === 401) {
    return new CliError('unauthorized', `the server at ${describeEndpoint(endpoint)} does not accept the token`, {
      hint: 'Give it with --token, in ~/.bhatti/config.yaml or as BHATTI_TOKEN; "bhatti serve status" on the server shows it.',
    });
  }
  if (!body.success) {
    return new ApiError(
      status,
      'server_error',
      `${describeEndpoint(endpoint)} answered with HTTP ${status}`,
      undefined,
    );
  }
  return new ApiError(status, body.data.code ?? 'server_error', body.data.error, body.data.request_id);
}

function unreachable(endpoint: Endpoint, error: unknown): UnreachableError {
  const code = networkCode(error);
  const where = describeEndpoint(endpoint);
  return new UnreachableError(code, `no bhatti server answers at ${where} (${code})`, { cause: error });
}

/** A host name with several addresses fails with one error for each, gathered in an AggregateError. */
function networkCode(error: unknown): string {
  if (error instanceof Error && error.name === 'AbortError') return 'ETIMEDOUT';
  const first = error instanceof AggregateError ? error.errors[0] : error;
  return systemErrorCode(error) ?? systemErrorCode(first) ?? (first instanceof Error ? first.message : String(first));
}
