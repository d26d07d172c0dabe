/**
 * A registry in this process for tests, over real HTTP on a loopback port. It serves what is put into it, asks for logins, and
 * fails as planned. It implements only the part of the distribution spec that a pulling client can see.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, json, redirection, refusal, send } from './registry/answer.ts';
import { type Descriptor, type ImageSource, OCI_INDEX, type PushedImage, RegistryContent } from './registry/content.ts';
import { type Fault, FaultPlan } from './registry/fault.ts';
import { type RegistryAuth, RegistryLogin } from './registry/login.ts';

export {
  hostArchitecture,
  type LayerSource,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
  type PushedImage,
  sha256,
} from './registry/content.ts';
export type { Fault } from './registry/fault.ts';
export type { RegistryAuth } from './registry/login.ts';
export { zstdFrame } from './registry/zstd-frame.ts';

export interface LoggedRequest {
  /** When it came, ms since the epoch. */
  readonly at: number;
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: string;
  status: number;
  /** Bytes of the body that were written to the connection. */
  sentBytes: number;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  /** Whole `Authorization` header. */
  readonly authorization: string | undefined;
  readonly userAgent: string | undefined;
  readonly body: string;
}

export interface RegistryOptions {
  readonly auth?: RegistryAuth;
  readonly faults?: readonly Fault[];
  /** Serve HTTPS with this key and certificate (PEM); with `requestCert` only to clients whose certificate the authority `ca` signed. */
  readonly tls?: {
    readonly key: string;
    readonly cert: string;
    readonly ca?: string;
    readonly requestCert?: boolean;
    readonly maxVersion?: 'TLSv1.2';
  };
  /** Loopback address to listen on. Default 127.0.0.1. */
  readonly address?: '127.0.0.1' | '::1';
}

/** Starts one on a free port. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const server = options.tls === undefined ? createServer() : createTlsServer(options.tls);
  server.keepAliveTimeout = 60_000;
  server.listen(0, options.address ?? '127.0.0.1');
  await once(server, 'listening');
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('the test registry has no port');
  return new TestRegistry(server, address, options);
}

export class TestRegistry {
  /** `127.0.0.1:PORT`, or `[::1]:PORT`. */
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** Every request so far, in order of arrival. */
  readonly requests: LoggedRequest[] = [];
  readonly #server: Server;
  readonly #content = new RegistryContent();
  readonly #faults = new FaultPlan();
  readonly #login: RegistryLogin;
  readonly #stop = new AbortController();
  readonly #sockets = new Set<Socket>();
  #peak = 0;

  constructor(server: Server, { family, port }: AddressInfo, { auth, faults = [], tls }: RegistryOptions) {
    this.port = port;
    this.host = family === 'IPv6' ? `[::1]:${port}` : `127.0.0.1:${port}`;
    this.url = `${tls === undefined ? 'http' : 'https'}://${this.host}`;
    this.#login = new RegistryLogin(auth ?? { kind: 'none' }, this.url);
    for (const fault of faults) this.#faults.add(fault);
    this.#server = server;
    server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => this.#count(socket));
    server.on('request', (request, response) => {
      void this.#serve(request, response).catch(() => response.destroy());
    });
  }

  /** Blobs belong to every repository. */
  putBlob(bytes: Buffer, mediaType?: string): Descriptor {
    return this.#content.putBlob(bytes, mediaType);
  }

  blob(digest: string): Buffer | undefined {
    return this.#content.blob(digest);
  }

  /** Objects are sent as JSON, bytes as they are; the Content-Type is the manifest's own mediaType unless given. */
  putManifest(repository: string, tag: string | undefined, manifest: object | Buffer, mediaType?: string): string {
    return this.#content.putManifest(repository, tag, manifest, mediaType);
  }

  pushImage(image: ImageSource): PushedImage {
    const reference = `${this.host}/${image.repository}:${image.tag ?? 'latest'}`;
    return { ...this.#content.putImage(image), reference };
  }

  /** An index over images that were pushed, and whatever other entries. */
  pushIndex(repository: string, tag: string, entries: readonly object[], mediaType = OCI_INDEX): string {
    return this.#content.putManifest(repository, tag, { schemaVersion: 2, mediaType, manifests: entries });
  }

  /** The first planned fault that matches a request strikes. */
  plan(fault: Fault): void {
    this.#faults.add(fault);
  }

  clearFaults(): void {
    this.#faults.clear();
  }

  /** Forgets what was put in, what was asked, and what is planned. */
  clear(): void {
    this.#content.clear();
    this.#faults.clear();
    this.requests.length = 0;
  }

  /** Tokens given so far are refused from now on. */
  expireTokens(): void {
    this.#login.expireTokens();
  }

  /** Resets every open connection. */
  dropConnections(): void {
    this.#server.closeAllConnections();
  }

  /** Connections that are open now, and the most that ever were at a time. */
  connections(): { readonly open: number; readonly peak: number } {
    return { open: this.#sockets.size, peak: this.#peak };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #count(socket: Socket): void {
    this.#sockets.add(socket);
    this.#peak = Math.max(this.#peak, this.#sockets.size);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    const logged: LoggedRequest = {
      at: Date.now(),
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.search,
      status: 0,
      sentBytes: 0,
      range: request.headers.range,
      ifRange: oneValue(request.headers['if-range']),
      authorization: request.headers.authorization,
      userAgent: request.headers['user-agent'],
      body: await readBody(request),
    };
    this.requests.push(logged);
    const fault = this.#faults.strike(logged.path);
    if (fault.hang) return;
    if (fault.until !== undefined) await fault.until;
    if (fault.delayMs !== undefined) await sleep(fault.delayMs, undefined, { signal: this.#stop.signal });
    const right =
      fault.redirect === undefined ? this.#answer(logged, url, fault) : redirection(fault.redirect, url.pathname);
    const answer = { ...right, status: fault.as ?? right.status };
    logged.status = answer.status;
    await send(response, answer, fault, this.#stop.signal, (bytes) => {
      logged.sentBytes += bytes;
    });
  }

  #answer(logged: LoggedRequest, url: URL, fault: Fault): Answer {
    if (fault.status !== undefined) {
      return refusal(fault.status, fault.error?.code ?? 'UNKNOWN', fault.error?.message ?? 'planned fault');
    }
    if (logged.path === '/token') return this.#login.tokenAnswer(logged, url.searchParams);
    const challenge = this.#login.challenge(logged);
    if (challenge !== undefined) return challenge;
    if (logged.path === '/v2/' || logged.path === '/v2') return json(200, {});
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(logged.path);
    if (match === null) return refusal(404, 'NOT_FOUND', 'no such route');
    const [, repository = '', kind, name = ''] = match;
    return kind === 'manifests'
      ? this.#content.manifestAnswer(repository, name)
      : this.#content.blobAnswer(name, logged, fault);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += String(chunk);
  return text;
}

function oneValue(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(', ') : header;
}
