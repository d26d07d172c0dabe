import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import type * as z from 'zod';
import * as schema from './api-schema.ts';
import { CliError, systemErrorCode } from './cli-error.ts';
import { type Endpoint, type HttpAnswer, type HttpRequest, openHttpConnection } from './http-connection.ts';
import { ProxyError } from './proxy.ts';
import type { RequestTiming } from './timing.ts';
import { type Explanation, explainCutUpload, explainProxy, explainUnreachable } from './unreachable.ts';

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
  readonly hint: string;

  constructor(systemCode: string, { message, hint }: Explanation, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UnreachableError';
    this.systemCode = systemCode;
    this.hint = hint;
  }
}

/** The API over HTTP. Every method rejects with ApiError, UnreachableError, or CliError `not_bhatti` for garbage. */
export interface ApiClient {
  readonly endpoint: Endpoint;
  health(timeout: number): Promise<schema.Health>;
  pull(request: schema.PullRequest): Promise<schema.PullAnswer>;
  /** The task; with `wait` (seconds) answered when its progress line is no longer `seen` ('' for none), it ended, or the time is over. */
  task(id: string, poll?: { wait: number; seen: string }): Promise<schema.Task>;
  /**
   * Every state of the task as the server tells it, until the server ends the stream, which it does after the end of the task.
   * `silence` in ms: a stream on which nothing comes for so long is broken.
   */
  taskEvents(id: string, options: { signal: AbortSignal; silence: number }): AsyncIterable<schema.Task>;
  cancelTask(id: string): Promise<schema.Task>;
  /** The newest first, `limit` at most. */
  tasks(filter: { status?: string; limit: number }): Promise<schema.Task[]>;
  /** Sends an archive of an image (what `docker save` writes) and has it made into an image. */
  importImage(archive: Readable, request: schema.ImportRequest): Promise<schema.ImportAnswer>;
  /** The ext4 file of an image, from byte `from` on where the server still has the file of that `etag`. */
  rootfs(name: string, resume?: { from: number; etag: string }): Promise<HttpAnswer>;
  adminStatus(): Promise<schema.AdminStatus>;
  images(): Promise<schema.Image[]>;
  /** The own image of that name, else one that is shared; with `owner` that owner's. */
  image(name: string, owner?: string): Promise<schema.Image>;
  deleteImage(name: string, owner?: string): Promise<void>;
  /** Lets everybody see and use the image, or takes that back. */
  shareImage(name: string, shared: boolean, owner?: string): Promise<schema.Image>;
  /** Removes what nothing needs from the server's disk; with `dryRun` tells what would go. */
  prune(dryRun: boolean): Promise<schema.Pruned>;
  close(): void;
}

export interface ApiClientOptions {
  readonly onTiming?: (timing: RequestTiming) => void;
  /** Told the version of the server with every answer of one that says it. */
  readonly onServerVersion?: (version: string) => void;
}

export function createApiClient(endpoint: Endpoint, options: ApiClientOptions = {}): ApiClient {
  const connection = openHttpConnection(endpoint);

  function seeVersion(headers: IncomingHttpHeaders): void {
    const version = headers['x-bhatti-version'];
    if (typeof version === 'string') options.onServerVersion?.(version);
  }

  async function send(request: HttpRequest) {
    try {
      const { text, headers, ...timing } = await connection.send(request);
      seeVersion(headers);
      options.onTiming?.({ method: request.method, path: request.path.replace(/\?.*/, ''), ...timing });
      return { status: timing.status, location: headers.location, text };
    } catch (error) {
      throw failedRequest(endpoint, request, error);
    }
  }

  /** An answer to be read as it comes. */
  async function open(request: HttpRequest): Promise<HttpAnswer> {
    const sentAt = performance.now();
    let answer: HttpAnswer;
    try {
      answer = await connection.open(request);
    } catch (error) {
      throw failedRequest(endpoint, request, error);
    }
    seeVersion(answer.headers);
    if (isRedirect(answer.status)) {
      answer.body.destroy();
      throw redirected(endpoint, answer.headers.location);
    }
    if (answer.status >= 400) throw refusal(endpoint, answer.status, parseJson(await readText(answer.body)));
    const { method, path } = request;
    answer.body.once('close', () => {
      const { status, dns, connect, tls, server } = answer;
      const transfer = performance.now() - sentAt - dns - connect - tls - server;
      options.onTiming?.({ method, path: path.replace(/\?.*/, ''), status, dns, connect, tls, server, transfer });
    });
    return answer;
  }

  /** A success, whatever it is. */
  async function ask(request: HttpRequest): Promise<{ status: number; json: unknown }> {
    const { status, location, text } = await send(request);
    const json = parseJson(text);
    if (isRedirect(status)) throw redirected(endpoint, location);
    if (status >= 400) throw refusal(endpoint, status, json);
    return { status, json };
  }

  async function call<Schema extends z.ZodType>(answer: Schema, request: HttpRequest): Promise<z.output<Schema>> {
    const { json } = await ask(request);
    const parsed = answer.safeParse(json);
    if (!parsed.success) throw notBhatti(endpoint, parsed.error);
    return parsed.data;
  }

  return {
    endpoint,
    health: (timeout) => call(schema.health, { method: 'GET', path: '/health', timeout }),
    pull: (body) => call(schema.pullAnswer, { method: 'POST', path: '/images/pull', body }),
    task: (id, poll) => call(schema.task, { method: 'GET', path: `${taskPath(id)}${pollQuery(poll)}` }),
    async *taskEvents(id, { signal, silence }) {
      const answer = await open({
        method: 'GET',
        path: `${taskPath(id)}/events`,
        headers: { accept: 'text/event-stream' },
        signal,
        silence,
      });
      try {
        if (!answer.headers['content-type']?.startsWith('text/event-stream')) throw notBhatti(endpoint, undefined);
        // Loaded here: most commands watch nothing.
        const { serverSentEvents } = await import('./server-sent-events.ts');
        for await (const data of serverSentEvents(answer.body, 'task')) {
          const parsed = schema.task.safeParse(parseJson(data));
          if (!parsed.success) throw notBhatti(endpoint, parsed.error);
          yield parsed.data;
        }
      } catch (error) {
        throw error instanceof CliError ? error : unreachable(endpoint, error);
      } finally {
        answer.body.destroy();
      }
    },
    cancelTask: (id) => call(schema.task, { method: 'DELETE', path: taskPath(id) }),
    tasks: async ({ status, limit }) => {
      const filter: Record<string, string> = status === undefined ? {} : { status };
      return pages(limit, async (query) => {
        const page = await call(schema.taskList, { method: 'GET', path: `/tasks?${query(filter)}` });
        return { items: page.tasks, next: page.next };
      });
    },
    importImage: (archive, { name, ref, platform, size }) => {
      const query = new URLSearchParams();
      for (const [key, value] of Object.entries({ name, ref, platform, size })) {
        if (value !== undefined) query.set(key, value);
      }
      return call(schema.importAnswer, {
        method: 'POST',
        path: `/images/import?${query}`,
        upload: archive,
        headers: { 'content-type': 'application/octet-stream' },
      });
    },
    rootfs: async (name, resume) => {
      const answer = await open({
        method: 'GET',
        path: imagePath(name, '/rootfs', undefined),
        headers: {
          accept: '*/*',
          'accept-encoding': 'identity',
          ...(resume !== undefined && { range: `bytes=${resume.from}-`, 'if-range': resume.etag }),
        },
      });
      // The page of a login or of a proxy must not become a file system.
      if (answer.headers['content-type']?.startsWith('application/octet-stream')) return answer;
      answer.body.destroy();
      throw notBhatti(endpoint, undefined);
    },
    adminStatus: () => call(schema.adminStatus, { method: 'GET', path: '/admin/status' }),
    images: () =>
      pages(Number.POSITIVE_INFINITY, async (query, first) => {
        // The first page is asked for as ever: servers that know no pages send everything.
        const page = await call(schema.imageList, { method: 'GET', path: first ? '/images' : `/images?${query({})}` });
        return { items: page.images, next: page.next };
      }),
    image: (name, owner) => call(schema.image, { method: 'GET', path: imagePath(name, '', owner) }),
    deleteImage: async (name, owner) => {
      const { status } = await ask({ method: 'DELETE', path: imagePath(name, '', owner) });
      // Whatever else says "well done" has deleted nothing.
      if (status !== 204) throw notBhatti(endpoint, undefined);
    },
    shareImage: (name, shared, owner) =>
      call(schema.image, { method: shared ? 'PUT' : 'DELETE', path: imagePath(name, '/share', owner) }),
    prune: (dryRun) => call(schema.pruned, { method: 'POST', path: '/images/prune', body: { dry_run: dryRun } }),
    close: () => connection.close(),
  };
}

/** The endpoint as an error message names it; never with a password that stands in the URL. */
export function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === 'url' ? endpoint.url.origin + endpoint.url.pathname.replace(/\/+$/, '') : endpoint.path;
}

function imagePath(name: string, below: string, owner: string | undefined): string {
  if (name === '') throw new CliError('invalid_name', 'the name of the image is empty');
  const query = owner === undefined ? '' : `?${new URLSearchParams({ owner })}`;
  return `/images/${encodeURIComponent(name)}${below}${query}`;
}

function taskPath(id: string): string {
  if (id === '') throw new CliError('not_found', 'the id of the task is empty');
  return `/tasks/${encodeURIComponent(id)}`;
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

/** The most that a server sends at once. */
const PAGE_LIMIT = 500;

interface Page<Item> {
  readonly items: readonly Item[];
  readonly next?: string | null;
}

/** Reads page after page, until there are no more or `limit` items are there. */
async function pages<Item>(
  limit: number,
  read: (query: (filter: Record<string, string>) => string, first: boolean) => Promise<Page<Item>>,
): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | undefined;
  do {
    const page = { limit: String(Math.min(limit - items.length, PAGE_LIMIT)), ...(cursor !== undefined && { cursor }) };
    const answer = await read((filter) => `${new URLSearchParams({ ...filter, ...page })}`, cursor === undefined);
    items.push(...answer.items);
    cursor = answer.next ?? undefined;
  } while (cursor !== undefined && items.length < limit);
  return items.slice(0, limit);
}

function notBhatti(endpoint: Endpoint, cause: unknown): CliError {
  return new CliError('not_bhatti', `${describeEndpoint(endpoint)} answers, but not as a bhatti server does`, {
    cause,
    hint: `Check the URL, and that client and server are of about the same version (bhatti version)${proxyNote(endpoint)}.`,
  });
}

/** What is no answer of this program may be one of the proxy. */
function proxyNote(endpoint: Endpoint): string {
  if (endpoint.kind !== 'url' || endpoint.proxy === undefined) return '';
  return `; it was asked through the proxy ${endpoint.proxy.host}, and hosts in NO_PROXY are asked without one`;
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400;
}

/** No redirect is followed: it may lead a token elsewhere, and a POST becomes a GET. */
function redirected(endpoint: Endpoint, location: string | undefined): CliError {
  const where = describeEndpoint(endpoint);
  const target = location !== undefined && URL.canParse(location, where) ? new URL(location, where).origin : undefined;
  if (target === undefined || target === 'null') return notBhatti(endpoint, undefined);
  return new CliError('not_bhatti', `${where} answers with a redirect to ${target}`, {
    hint: `If that is the server, use its URL: --url ${target}`,
  });
}

/** A route that is not there: every other 404 names what is missing. */
function isMissingRoute(status: number, message: string): boolean {
  return status === 405 || status === 501 || (status === 404 && message === 'there is no such route');
}

/** What goes wrong with the upload's own source is not the network's doing, and a server that took some of it was there. */
function failedRequest(endpoint: Endpoint, { upload }: HttpRequest, error: unknown): Error {
  if (error instanceof CliError || error instanceof UnreachableError) return error;
  const code = systemErrorCode(error) ?? 'unknown error';
  if (upload?.errored instanceof Error && upload.errored === error) {
    return new CliError('import_failed', `the archive cannot be read (${code})`, { cause: error });
  }
  if (upload?.readableDidRead && (code === 'ECONNRESET' || code === 'EPIPE')) {
    return new UnreachableError(code, explainCutUpload(describeEndpoint(endpoint), code), { cause: error });
  }
  return unreachable(endpoint, error);
}

function refusal(endpoint: Endpoint, status: number, json: unknown): Error {
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
  if (!body.success && status < 500) return notBhatti(endpoint, undefined);
  if (!body.success) {
    return new ApiError(
      status,
      'server_error',
      `${describeEndpoint(endpoint)} answered with HTTP ${status}${proxyNote(endpoint)}`,
      undefined,
    );
  }
  return new ApiError(status, body.data.code ?? 'server_error', body.data.error, body.data.request_id);
}

function unreachable(endpoint: Endpoint, error: unknown): UnreachableError {
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
