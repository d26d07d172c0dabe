/**
 * HTTP to one server, by Node's own client: it adds 5 ms to the start of a command, where undici adds 170 ms (its
 * import, and compiling its WebAssembly parser at the first request), and the whole start-up has to stay under 300 ms.
 */
import type { IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';

/** Where a server is: a URL with a bearer token, or the unix socket of a local stack, which needs none. */
export type Endpoint =
  | { readonly kind: 'url'; readonly url: URL; readonly token: string | undefined }
  | { readonly kind: 'socket'; readonly path: string };

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With the query, below the path of the endpoint's URL. */
  readonly path: string;
  readonly body?: unknown;
  /** For the whole request, ms. */
  readonly timeout?: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly text: string;
  /** Times in ms: until the connection stood (0 when one was open already), until the headers, and for the body. */
  readonly connect: number;
  readonly server: number;
  readonly transfer: number;
}

export interface HttpConnection {
  /** Rejects with the system error of the connection; a server that says nothing for 30 s is `ETIMEDOUT`. */
  send(request: HttpRequest): Promise<HttpResponse>;
  close(): void;
}

const CONNECT_TIMEOUT = 10_000;
/** Longer than the longest request takes at the server: resolving a tag against a slow registry. */
const SILENCE_TIMEOUT = 30_000;

export function openHttpConnection(endpoint: Endpoint): HttpConnection {
  const secure = endpoint.kind === 'url' && endpoint.url.protocol === 'https:';
  const module = secure ? https : http;
  const agent = new module.Agent({ keepAlive: true, maxSockets: 1 });
  const target = endpoint.kind === 'url' ? urlTarget(endpoint.url) : { socketPath: endpoint.path, prefix: '' };
  const token = endpoint.kind === 'url' ? endpoint.token : undefined;

  return {
    async send({ method, path, body, timeout }) {
      const sentAt = performance.now();
      let connect = 0;
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        const payload = body === undefined ? undefined : JSON.stringify(body);
        const request = module.request({
          ...target,
          agent,
          method,
          path: target.prefix + path,
          headers: {
            accept: 'application/json',
            ...(token !== undefined && { authorization: `Bearer ${token}` }),
            ...(payload !== undefined && {
              'content-type': 'application/json',
              'content-length': Buffer.byteLength(payload),
            }),
          },
          ...(timeout !== undefined && { signal: AbortSignal.timeout(timeout) }),
        });
        const giveUp = () => request.destroy(Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' }));
        request.setTimeout(SILENCE_TIMEOUT, giveUp);
        request.once('socket', (socket) => {
          if (!socket.connecting) return;
          const timer = setTimeout(giveUp, CONNECT_TIMEOUT);
          socket.once('close', () => clearTimeout(timer));
          socket.once(secure ? 'secureConnect' : 'connect', () => {
            clearTimeout(timer);
            connect = performance.now() - sentAt;
          });
        });
        request.once('response', resolve);
        request.on('error', reject);
        request.end(payload);
      });
      const answeredAt = performance.now();
      const content = await text(response);
      return {
        status: response.statusCode ?? 0,
        text: content,
        connect,
        server: answeredAt - sentAt - connect,
        transfer: performance.now() - answeredAt,
      };
    },
    close: () => agent.destroy(),
  };
}

function urlTarget(url: URL) {
  return {
    protocol: url.protocol,
    // An IPv6 address stands in brackets in a URL, and without them everywhere else.
    hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
    prefix: url.pathname.replace(/\/+$/, ''),
  };
}
