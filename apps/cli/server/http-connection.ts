/**
 * HTTP to one server with Node's own client, which adds 5 ms to the start of a command. undici would add 170 ms (for importing
 * it, and compiling its WebAssembly parser at the first request), and the whole start-up has to stay under 300 ms.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { systemErrorCode } from '../cli-error.ts';
import { addressOf, CONNECT_TIMEOUT, ProxyError, proxyHeaders, TunnelAgent } from './proxy.ts';
import { type HttpTimes, RequestClock } from './request-clock.ts';

/** Where a server is: a URL with a bearer token and perhaps a proxy, or the unix socket of a local stack, which needs neither. */
export type Endpoint =
  | { readonly kind: 'url'; readonly url: URL; readonly token: string | undefined; readonly proxy?: URL | undefined }
  | { readonly kind: 'socket'; readonly path: string };

/** The endpoint for error messages, without a password that the URL may hold. */
export function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === 'url' ? endpoint.url.origin + endpoint.url.pathname.replace(/\/+$/, '') : endpoint.path;
}

/** A body that is streamed as it is; if it fails, so does the request. */
export interface Upload {
  readonly stream: Readable;
  /** Length, where it is known before it is read: lets the server refuse what it has no room for before any of it is sent. */
  readonly bytes?: number;
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below the path of the endpoint's URL, and with the query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent instead. */
  readonly upload?: Upload;
  readonly headers?: Readonly<Record<string, string>>;
  /** Limit for the whole request, ms. */
  readonly timeout?: number;
  /** How long the server may send nothing, before or within its answer, ms. */
  readonly silence?: number;
  readonly signal?: AbortSignal;
}

/** An answer whose body is still to be read; `body.destroy()` abandons it. */
export interface HttpAnswer extends HttpTimes {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
}

export interface HttpResponse extends HttpTimes {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** For the body, ms. */
  readonly transfer: number;
}

/** Longer than the longest request takes at the server: resolving a tag against a slow registry. */
const SILENCE_TIMEOUT = 30_000;
/** An upload may come from a program that takes a while before it writes, such as `docker save` of a large image. */
const UPLOAD_SILENCE_TIMEOUT = 10 * 60_000;

/** HTTP to one server. Requests reject with the system error of the connection, or ProxyError; silence for 30 s is `ETIMEDOUT`. */
export class HttpConnection {
  readonly #route: Route;
  readonly #token: string | undefined;

  constructor(endpoint: Endpoint) {
    this.#route = routeTo(endpoint);
    this.#token = endpoint.kind === 'url' ? endpoint.token : undefined;
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    const { body, ...answer } = await this.open(request);
    const answeredAt = performance.now();
    const content = await text(body);
    return { ...answer, text: content, transfer: performance.now() - answeredAt };
  }

  /** Resolves once the headers are here; the body fails if the connection does. */
  async open(wanted: HttpRequest): Promise<HttpAnswer> {
    const clock = new RequestClock();
    const body = await this.#answer(wanted, clock);
    return { status: body.statusCode ?? 0, headers: body.headers, body, ...clock.times() };
  }

  close(): void {
    this.#route.agent.destroy();
  }

  #answer(wanted: HttpRequest, clock: RequestClock): Promise<IncomingMessage> {
    const { module, agent, target, proxy, secure } = this.#route;
    const { method, path, body, upload } = wanted;
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const signal = signalOf(wanted);
    return new Promise((resolve, reject) => {
      const headers = this.#headers(wanted, payload);
      const request = module.request({ ...target, agent, method, path: target.prefix + path, headers, signal });
      limitWaiting(request, silenceOf(wanted), secure);
      clock.watch(request, secure);
      request.once('response', (response) => {
        if (proxy === undefined || response.statusCode !== 407) return resolve(response);
        reject(new ProxyError(proxy, 'HTTP 407', 407));
        request.destroy();
      });
      request.on('error', (error) => {
        const isOfProxy = proxy !== undefined && !clock.isConnected && !signal.aborted;
        reject(isOfProxy ? new ProxyError(proxy, systemErrorCode(error) ?? error.message) : error);
      });
      if (upload === undefined) request.end(payload);
      else pipeUpload(upload.stream, request);
    });
  }

  #headers({ headers, upload }: HttpRequest, payload: string | undefined): Record<string, string | number> {
    return {
      accept: 'application/json',
      ...this.#route.target.headers,
      ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
      ...(payload !== undefined && {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(payload),
      }),
      ...(upload?.bytes !== undefined && { 'content-length': upload.bytes }),
      ...headers,
    };
  }
}

function signalOf({ signal, timeout }: HttpRequest): AbortSignal {
  const signals = [signal, timeout === undefined ? undefined : AbortSignal.timeout(timeout)];
  return AbortSignal.any(signals.filter((one) => one !== undefined));
}

function silenceOf({ silence, upload }: HttpRequest): number {
  return silence ?? (upload === undefined ? SILENCE_TIMEOUT : UPLOAD_SILENCE_TIMEOUT);
}

/** Fails a request with `ETIMEDOUT` after `silence` ms without a byte, or when it takes too long to connect. */
function limitWaiting(request: ClientRequest, silence: number, secure: boolean): void {
  let answered: IncomingMessage | undefined;
  request.once('response', (response) => {
    answered = response;
  });
  const giveUp = () => {
    const error = Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' });
    // Otherwise the reader of the answer would see only a reset.
    answered?.destroy(error);
    request.destroy(error);
  };
  request.setTimeout(silence, giveUp);
  request.once('socket', (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(giveUp, CONNECT_TIMEOUT);
    socket.once('close', () => clearTimeout(timer));
    socket.once(secure ? 'secureConnect' : 'connect', () => clearTimeout(timer));
  });
}

function pipeUpload(upload: Readable, request: ClientRequest): void {
  upload.once('error', (error) => request.destroy(error));
  // A server that answers early has refused, and reads no further.
  request.once('response', () => upload.unpipe(request));
  upload.pipe(request);
}

interface Route {
  readonly module: typeof http | typeof https;
  readonly agent: http.Agent;
  readonly target: Target;
  /** Set where the proxy itself asks the server, instead of opening a tunnel. */
  readonly proxy?: URL;
  readonly secure: boolean;
}

interface Target {
  readonly prefix: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly socketPath?: string;
  readonly protocol?: string;
  readonly hostname?: string;
  readonly port?: string | number;
}

/** How requests get to the server. A proxy opens a tunnel to an https:// server, and forwards the requests to an http:// one. */
function routeTo(endpoint: Endpoint): Route {
  const options = { keepAlive: true };
  if (endpoint.kind === 'socket') {
    const target: Target = { socketPath: endpoint.path, prefix: '' };
    return { module: http, agent: new http.Agent(options), target, secure: false };
  }
  const { url, proxy } = endpoint;
  const prefix = url.pathname.replace(/\/+$/, '');
  const direct: Target = { ...addressOf(url), prefix };
  if (url.protocol === 'https:') {
    const agent = proxy === undefined ? new https.Agent(options) : new TunnelAgent(proxy, url, options);
    return { module: https, agent, target: direct, secure: true };
  }
  if (proxy === undefined) return { module: http, agent: new http.Agent(options), target: direct, secure: false };
  const headers = { host: url.host, ...proxyHeaders(proxy) };
  const target: Target = { ...addressOf(proxy), prefix: `${url.origin}${prefix}`, headers };
  const secure = proxy.protocol === 'https:';
  const module = secure ? https : http;
  return { module, agent: new module.Agent(options), target, proxy, secure };
}
