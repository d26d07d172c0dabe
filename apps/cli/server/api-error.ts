import { CliError, systemErrorCode } from '../cli-error.ts';
import * as schema from './api-schema.ts';
import { describeEndpoint, type Endpoint, type HttpRequest } from './http-connection.ts';
import { ProxyError } from './proxy.ts';
import { type Explanation, explainCutUpload, explainProxy, explainUnreachable } from './unreachable.ts';

/** The server answered with an error: the HTTP status, a stable code, and a message in the server's words. */
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
  readonly hint: string;

  constructor(systemCode: string, { message, hint }: Explanation, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UnreachableError';
    this.systemCode = systemCode;
    this.hint = hint;
  }
}

/** How long the server may be away (a restart, an upgrade) before the CLI gives up what it does. ms. */
export const AWAY_LIMIT = 60_000;

/** Whether the server, or the gateway before it, may answer soon: it restarts, or is being upgraded. */
export function isTemporary(error: unknown): boolean {
  if (error instanceof UnreachableError) return true;
  return error instanceof ApiError && [502, 503, 504].includes(error.status);
}

export function notBhatti(endpoint: Endpoint, cause: unknown): CliError {
  return new CliError('not_bhatti', `${describeEndpoint(endpoint)} answers, but not as a bhatti server does`, {
    cause,
    hint: `Check the URL, and that client and server are of about the same version (bhatti version)${proxyNote(endpoint)}.`,
  });
}

/** An answer that no bhatti server gives may be the proxy's. */
function proxyNote(endpoint: Endpoint): string {
  if (endpoint.kind !== 'url' || endpoint.proxy === undefined) return '';
  return `; it was asked through the proxy ${endpoint.proxy.host}, and hosts in NO_PROXY are asked without one`;
}

/** No redirect is followed: it may lead a token elsewhere, and a POST becomes a GET. */
export function redirected(endpoint: Endpoint, location: string | undefined): CliError {
  const where = describeEndpoint(endpoint);
  const target = location === undefined ? undefined : serverAt(where, location);
  // A redirect within the same server, say to a login page, is not from bhatti.
  if (target === undefined || target === where) return notBhatti(endpoint, undefined);
  return new CliError('not_bhatti', `${where} answers with a redirect to ${target}`, {
    hint: `If that is the server, use its URL: --url ${target}`,
  });
}

/** The URL of the server to which one at `where` redirects, with the path of `where` if the target is below it. */
function serverAt(where: string, location: string): string | undefined {
  if (!URL.canParse(location, where)) return undefined;
  const { origin, pathname } = new URL(location, where);
  if (origin === 'null') return undefined;
  const path = new URL(where).pathname.replace(/\/$/, '');
  return pathname.startsWith(`${path}/`) ? `${origin}${path}` : origin;
}

/** Whether the server lacks the route: any other 404 names what is missing. */
function isMissingRoute(status: number, message: string): boolean {
  return status === 405 || status === 501 || (status === 404 && message === 'there is no such route');
}

/**
 * The error for a request without an answer. A failure to read the upload's source is not the network's fault; a connection that
 * breaks during an upload had reached a server.
 */
export function failedRequest(endpoint: Endpoint, { upload }: HttpRequest, error: unknown): Error {
  if (error instanceof CliError || error instanceof UnreachableError) return error;
  const code = systemErrorCode(error) ?? 'unknown error';
  if (upload?.stream.errored instanceof Error && upload.stream.errored === error) {
    return new CliError('import_failed', `the archive cannot be read (${code})`, { cause: error });
  }
  if (upload?.stream.readableDidRead && (code === 'ECONNRESET' || code === 'EPIPE')) {
    return new UnreachableError(code, explainCutUpload(describeEndpoint(endpoint), code), { cause: error });
  }
  return unreachable(endpoint, error);
}

export function refusal(endpoint: Endpoint, status: number, json: unknown): Error {
  const body = schema.errorBody.safeParse(json);
  if (body.success && isMissingRoute(status, body.data.error)) {
    const [path] = endpoint.kind === 'url' ? (/[^/].*/.exec(endpoint.url.pathname) ?? []) : [];
    return new CliError('server_too_old', `the server at ${describeEndpoint(endpoint)} cannot do this yet`, {
      hint:
        path === undefined
          ? 'It is older than this bhatti ("bhatti version" shows both): update the server, or restart it if it is.'
          : `Does "/${path}" belong in the URL? If it does, the server is older than this bhatti: update it.`,
    });
  }
  if (status === 401) {
    const given = endpoint.kind === 'url' && endpoint.token !== undefined;
    const where = describeEndpoint(endpoint);
    return new CliError(
      'unauthorized',
      given ? `the server at ${where} does not accept the token` : `the server at ${where} wants a token`,
      {
        hint: 'Write it down with "bhatti setup", or give it as BHATTI_TOKEN; "bhatti serve status" on the server shows it.',
      },
    );
  }
  if (body.success)
    return new ApiError(status, body.data.code ?? 'server_error', body.data.error, body.data.request_id);
  if (status < 500) return notBhatti(endpoint, undefined);
  const message = `${describeEndpoint(endpoint)} answered with HTTP ${status}${proxyNote(endpoint)}`;
  return new ApiError(status, 'server_error', message, undefined);
}

export function unreachable(endpoint: Endpoint, error: unknown): UnreachableError {
  if (error instanceof ProxyError) {
    const { code, proxy, status } = error;
    return new UnreachableError(code, explainProxy(proxy.host, describeEndpoint(endpoint), code, status), {
      cause: error,
    });
  }
  const code = networkCode(error);
  return new UnreachableError(code, explainUnreachable(describeEndpoint(endpoint), code), { cause: error });
}

/** A host name with several addresses fails with one error for each, gathered in an AggregateError. */
function networkCode(error: unknown): string {
  if (error instanceof Error && error.name === 'AbortError') return 'ETIMEDOUT';
  const first = error instanceof AggregateError ? error.errors[0] : error;
  return systemErrorCode(error) ?? systemErrorCode(first) ?? (first instanceof Error ? first.message : String(first));
}
