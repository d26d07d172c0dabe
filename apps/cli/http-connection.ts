/**
 * HTTP to one server, by Node's own client: it adds 5 ms to the start of a command, where undici adds 170 ms (its
 * import, and compiling its WebAssembly parser at the first request), and the whole start-up has to stay under 300 ms.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { systemErrorCode } from './cli-error.ts';
import { addressOf, CONNECT_TIMEOUT, ProxyError, proxyHeaders, TunnelAgent } from './proxy.ts';

/** Where a server is: a URL with a bearer token, and the proxy on the way; or the unix socket of a local stack, which needs none. */
export type Endpoint =
  | { readonly kind: 'url'; readonly url: URL; readonly token: string | undefined; readonly proxy?: URL | undefined }
  | { readonly kind: 'socket'; readonly path: string };

/** The endpoint as an error message names it; never with a password that stands in the URL. */
export function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === 'url' ? endpoint.url.origin + endpoint.url.pathname.replace(/\/+$/, '') : endpoint.path;
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With the query, below the path of the endpoint's URL. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is instead, however long; its failure is that of the request. */
  readonly upload?: Readable;
  readonly headers?: Readonly<Record<string, string>>;
  /** For the whole request, ms. */
  readonly timeout?: number;
  /** For the server to say nothing, also within its answer, ms. */
  readonly silence?: number;
  readonly signal?: AbortSignal;
}

/** Times of a request in ms. The first three are 0 when a connection was open already. */
export interface HttpTimes {
  /** Until the name was an address. */
  readonly dns: number;
  /** From then until the connection stood. */
  readonly connect: number;
  /** From then until it was encrypted. */
  readonly tls: number;
  /** From then until the headers of the answer. */
  readonly server: number;
}

/** An answer of which the body is still to be read; `body.destroy()` gives up on it. */
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

export interface HttpConnection {
  /** Rejects with the system error of the connection, or ProxyError; a server that says nothing for 30 s is `ETIMEDOUT`. */
  send(request: HttpRequest): Promise<HttpResponse>;
  /** The same for an answer that is read as it comes: its body fails as the connection does. */
  open(request: HttpRequest): Promise<HttpAnswer>;
  close(): void;
}

/** Longer than the longest request takes at the server: resolving a tag against a slow registry. */
const SILENCE_TIMEOUT = 30_000;
/** What is uploaded may come from a program that thinks before it writes: `docker save` of a large image. */
const UPLOAD_SILENCE_TIMEOUT = 10 * 60_000;

export function openHttpConnection(endpoint: Endpoint): HttpConnection {
  const { module, agent, target, proxy, secure } = routeTo(endpoint);
  const token = endpoint.kind === 'url' ? endpoint.token : undefined;

  async function open(wanted: HttpRequest): Promise<HttpAnswer> {
    const { method, path, body, upload, headers, timeout } = wanted;
    const silence = wanted.silence ?? (upload === undefined ? SILENCE_TIMEOUT : UPLOAD_SILENCE_TIMEOUT);
    const signals = [wanted.signal, timeout === undefined ? undefined : AbortSignal.timeout(timeout)];
    const signal = AbortSignal.any(signals.filter((one) => one !== undefined));
    const sentAt = performance.now();
    let resolvedAt = sentAt;
    let connectedAt = sentAt;
    let readyAt = sentAt;
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const payload = body === undefined ? undefined : JSON.stringify(body);
      const request = module.request({
        ...target,
        agent,
        method,
        path: target.prefix + path,
        headers: {
          accept: 'application/json',
          ...target.headers,
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(payload !== undefined && {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(payload),
          }),
          ...headers,
        },
        signal,
      });
      let answered: IncomingMessage | undefined;
      const giveUp = () => {
        const error = Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' });
        // Whoever reads the answer would hear of a reset only.
        answered?.destroy(error);
        request.destroy(error);
      };
      request.setTimeout(silence, giveUp);
      request.once('socket', (socket) => {
        if (!socket.connecting) {
          // A tunnel stands, encrypted, when it is handed over.
          if (!request.reusedSocket) {
            connectedAt = performance.now();
            readyAt = connectedAt;
          }
          return;
        }
        const timer = setTimeout(giveUp, CONNECT_TIMEOUT);
        socket.once('close', () => clearTimeout(timer));
        socket.once('lookup', () => {
          resolvedAt = performance.now();
          connectedAt = resolvedAt;
        });
        socket.once('connect', () => {
          connectedAt = performance.now();
          readyAt = connectedAt;
        });
        socket.once(secure ? 'secureConnect' : 'connect', () => {
          clearTimeout(timer);
          readyAt = performance.now();
        });
      });
      request.once('response', (response) => {
        answered = response;
        if (proxy === undefined || response.statusCode !== 407) return resolve(response);
        reject(new ProxyError(proxy, 'HTTP 407', 407));
        request.destroy();
      });
      request.on('error', (error) => {
        const isOfProxy = proxy !== undefined && readyAt === sentAt && !signal.aborted;
        reject(isOfProxy ? new ProxyError(proxy, systemErrorCode(error) ?? error.message) : error);
      });
      if (upload === undefined) {
        request.end(payload);
        return;
      }
      upload.once('error', (error) => request.destroy(error));
      // A server that has refused reads no further.
      request.once('response', () => upload.unpipe(request));
      upload.pipe(request);
    });
    return {
      status: answer.statusCode ?? 0,
      headers: answer.headers,
      body: answer,
      dns: resolvedAt - sentAt,
      connect: connectedAt - resolvedAt,
      tls: readyAt - connectedAt,
      server: performance.now() - readyAt,
    };
  }

  return {
    open,
    async send(request) {
      const { body, ...answer } = await open(request);
      const answeredAt = performance.now();
      const content = await text(body);
      return { ...answer, text: content, transfer: performance.now() - answeredAt };
    },
    close: () => agent.destroy(),
  };
}

interface Target {
  readonly prefix: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly socketPath?: string;
  readonly protocol?: string;
  readonly hostname?: string;
  readonly port?: string | number;
}

/** How requests get to the server. A proxy leads to encrypted servers by a tunnel, and asks the others itself: then it is in `proxy`. */
function routeTo(endpoint: Endpoint) {
  const options = { keepAlive: true, maxSockets: 1 };
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
