import type { ClientRequest, IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import { isIP, Socket } from 'node:net';
import tls from 'node:tls';
import { OciError, proxyFor } from '@bhatti/oci';
import { CliError, systemErrorCode } from '../cli-error.ts';

/** Milliseconds to connect to a server or a proxy. */
export const CONNECT_TIMEOUT = 10_000;

/** A proxy that cannot be reached (`code` says why), or that refuses (`status`). */
export class ProxyError extends Error {
  readonly proxy: URL;
  readonly code: string;
  readonly status: number | undefined;

  constructor(proxy: URL, code: string, status?: number) {
    super(`the proxy ${proxy.host} failed (${code})`);
    this.name = 'ProxyError';
    this.proxy = proxy;
    this.code = code;
    this.status = status;
  }
}

/** The proxy on the way to a server, chosen as curl, gh and kubectl do. Throws CliError `invalid_request` for an unusable one. */
export function serverProxy(url: URL, environment: NodeJS.ProcessEnv): URL | undefined {
  const hint = 'A server whose host stands in NO_PROXY is asked without one.';
  try {
    const proxy = proxyFor(url, {}, environment);
    if (!proxy?.protocol.startsWith('socks')) return proxy;
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    throw new CliError('invalid_request', error.message, { hint });
  }
  throw new CliError('invalid_request', 'the proxy of the environment speaks SOCKS, which bhatti does not', { hint });
}

/** The credentials for a proxy, if its URL holds some. */
export function proxyHeaders({ username, password }: URL): Record<string, string> {
  if (username === '') return {};
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(login).toString('base64')}` };
}

/** Connects to one https:// server through a proxy's tunnels, encrypted end to end. Fails with `ProxyError` or the error of TLS. */
export class TunnelAgent extends https.Agent {
  readonly #proxy: URL;
  readonly #url: URL;
  readonly #timeout: number;

  /** @param timeout milliseconds, for the tunnel and again for TLS */
  constructor(proxy: URL, url: URL, options: https.AgentOptions, timeout = CONNECT_TIMEOUT) {
    super(options);
    this.#proxy = proxy;
    this.#url = url;
    this.#timeout = timeout;
  }

  override createConnection(...[, callback]: Parameters<https.Agent['createConnection']>): undefined {
    const { hostname: host } = addressOf(this.#url);
    openTunnel(this.#proxy, this.#url, this.#timeout).then(
      (socket) => {
        const secure = tls.connect({ socket, host, ...(isIP(host) === 0 && { servername: host }) });
        const failed = (error: Error) => callback?.(error, secure);
        const timer = setTimeout(() => secure.destroy(timedOut()), this.#timeout);
        secure.once('close', () => clearTimeout(timer));
        secure.once('error', failed);
        secure.once('secureConnect', () => {
          clearTimeout(timer);
          secure.off('error', failed);
          callback?.(null, secure);
        });
      },
      (error) => callback?.(error, new Socket()),
    );
  }
}

function openTunnel(proxy: URL, { hostname, port }: URL, timeout: number): Promise<Socket> {
  const authority = `${hostname}:${port || 443}`;
  return new Promise((resolve, reject) => {
    const request = requestOf(proxy, authority);
    const timer = setTimeout(() => request.destroy(timedOut()), timeout);
    const refuse = ({ statusCode = 0 }: IncomingMessage) => {
      reject(new ProxyError(proxy, `HTTP ${statusCode}`, statusCode));
      request.destroy();
    };
    request.once('connect', (response, socket) => {
      if (response.statusCode === 200) resolve(socket);
      else refuse(response);
    });
    request.once('response', refuse);
    request.on('error', (error) => reject(new ProxyError(proxy, systemErrorCode(error) ?? error.message)));
    request.once('close', () => clearTimeout(timer));
    request.end();
  });
}

function timedOut(): Error {
  return Object.assign(new Error('the connection was not there in time'), { code: 'ETIMEDOUT' });
}

function requestOf(proxy: URL, authority: string): ClientRequest {
  const { request } = proxy.protocol === 'https:' ? https : http;
  return request({
    ...addressOf(proxy),
    method: 'CONNECT',
    path: authority,
    headers: { host: authority, ...proxyHeaders(proxy) },
    agent: false,
  });
}

/** The address to connect to for a URL. */
export function addressOf({ hostname, port, protocol }: URL) {
  return {
    protocol,
    // An IPv6 address has brackets in a URL, and nowhere else.
    hostname: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port || (protocol === 'https:' ? 443 : 80),
  };
}
