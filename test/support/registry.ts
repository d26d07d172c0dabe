/**
 * A registry in this process, over real HTTP on a loopback port, for tests: it serves what is put into it, asks for logins,
 * and does wrong by plan. It reads no more of the distribution spec than a client that pulls can see.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

/** One way to do wrong, for the requests that match; what is left out stays right. */
export interface Fault {
  /** The request's path holds this text, or matches. */
  readonly path: string | RegExp;
  /** Requests that it strikes before it is used up. Default: all. */
  readonly times?: number;
  /** Matching requests that are let through first. Default 0. */
  readonly after?: number;
  /** Answer with this status and an error body. */
  readonly status?: number;
  /** The code and message of that error body. Default UNKNOWN. */
  readonly error?: { readonly code: string; readonly message: string };
  /** Send these bytes as the body, whatever was asked for. */
  readonly body?: string | Buffer;
  /** Header fields that are added, replaced, or (undefined) left out. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Give the right answer this status. */
  readonly as?: number;
  /** Redirect there; `{path}` stands for the path that was asked for. */
  readonly redirect?: string;
  /** Close the connection after so many bytes of the body, all of which arrive. */
  readonly cutAfter?: number;
  /** Reset the connection after so many bytes of the body, the last of which may be lost. */
  readonly resetAfter?: number;
  /** End the answer well after so many bytes, without a Content-Length. */
  readonly endAfter?: number;
  /** Send nothing more after so many bytes, and leave the connection open. */
  readonly stallAfter?: number;
  /** The answer waits for this. */
  readonly until?: Promise<void>;
  /** Wait so many milliseconds before the answer. */
  readonly delayMs?: number;
  /** Leave the request without any answer. */
  readonly hang?: boolean;
  /** Flip the bits of the byte at this offset of the blob. */
  readonly corruptAt?: number;
  /** Send these bytes behind the body, without a Content-Length. */
  readonly append?: Buffer;
  /** Send no faster than this. */
  readonly bytesPerSecond?: number;
  /** Send the whole with status 200 when a part is asked for. */
  readonly ignoreRange?: boolean;
  /** Send a part that starts so many bytes later than asked for, and say so. */
  readonly shiftRange?: number;
}

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

export type RegistryAuth =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  /** Without a name, tokens are given to anyone. The realm is this registry's own `/token` unless another is named. */
  | {
      readonly kind: 'bearer';
      readonly username?: string;
      readonly password?: string;
      readonly tokenSeconds?: number;
      readonly realm?: string;
    };

export interface RegistryOptions {
  readonly auth?: RegistryAuth;
  readonly faults?: readonly Fault[];
  /** Serve HTTPS with this key and certificate (PEM). */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Loopback address to listen on. Default 127.0.0.1. */
  readonly address?: '127.0.0.1' | '::1';
}

export interface LayerSource {
  /** The uncompressed tar. */
  readonly tar: Buffer;
  /** Default gzip. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
}

export interface ImageSource {
  /** `library/alpine`. */
  readonly repository: string;
  readonly tag?: string;
  readonly layers: readonly LayerSource[];
  /** The `config` section of the image config: `{ Env: […], Cmd: […] }`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Default: this machine's. */
  readonly platform?: { readonly os?: string; readonly architecture: string; readonly variant?: string };
}

export interface PushedImage {
  /** Digest of the manifest. */
  readonly digest: string;
  /** Descriptor of the manifest, with its platform, as an index lists it. */
  readonly descriptor: Descriptor & { readonly platform: { os: string; architecture: string; variant?: string } };
  readonly manifest: { readonly config: Descriptor; readonly layers: readonly Descriptor[] };
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly string[];
  /** `127.0.0.1:PORT/library/alpine:tag`. */
  readonly reference: string;
}

export interface TestRegistry {
  /** `127.0.0.1:PORT`, or `[::1]:PORT`. */
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** Every request so far, in order of arrival. */
  readonly requests: LoggedRequest[];
  /** Blobs belong to every repository. */
  putBlob(bytes: Buffer, mediaType?: string): Descriptor;
  blob(digest: string): Buffer | undefined;
  /** Objects are sent as JSON, bytes as they are; the Content-Type is the manifest's own mediaType unless given. */
  putManifest(repository: string, tag: string | undefined, manifest: object | Buffer, mediaType?: string): string;
  pushImage(image: ImageSource): PushedImage;
  /** An index over images that were pushed, and whatever other entries. */
  pushIndex(repository: string, tag: string, entries: readonly object[], mediaType?: string): string;
  /** The first planned fault that matches a request strikes. */
  plan(fault: Fault): void;
  clearFaults(): void;
  /** Forgets what was put in, what was asked, and what is planned. */
  clear(): void;
  /** Tokens given so far are refused from now on. */
  expireTokens(): void;
  /** Resets every open connection. */
  dropConnections(): void;
  /** Connections that are open now, and the most that ever were at a time. */
  connections(): { readonly open: number; readonly peak: number };
  close(): Promise<void>;
}

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPES = {
  gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  none: 'application/vnd.oci.image.layer.v1.tar',
} as const;
const SERVICE = 'test-registry';

export function sha256(bytes: Buffer | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Architecture of this machine in Go's terms, which images use. */
export function hostArchitecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

interface StoredManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
}

interface PlannedFault {
  readonly fault: Fault;
  seen: number;
  struck: number;
}

export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const auth = options.auth ?? { kind: 'none' };
  const blobs = new Map<string, Buffer>();
  /** By `repository@digest` and `repository:tag`. */
  const manifests = new Map<string, StoredManifest>();
  const tokens = new Map<string, number>();
  const requests: LoggedRequest[] = [];
  const stop = new AbortController();
  let faults: PlannedFault[] = (options.faults ?? []).map(planned);

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    void serve(request, response).catch(() => response.destroy());
  };
  const server = options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
  const sockets = new Set<Socket>();
  let peak = 0;
  server.on(options.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    sockets.add(socket);
    peak = Math.max(peak, sockets.size);
    socket.on('close', () => sockets.delete(socket));
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, options.address ?? '127.0.0.1');
  await once(server, 'listening');
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('the test registry has no port');
  const host = address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `127.0.0.1:${address.port}`;
  const origin = `${options.tls === undefined ? 'http' : 'https'}://${host}`;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', origin);
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
    requests.push(logged);
    const fault = strike(logged.path);
    if (fault.hang) return;
    if (fault.until !== undefined) await fault.until;
    if (fault.delayMs !== undefined) await sleep(fault.delayMs, undefined, { signal: stop.signal });
    const right = fault.redirect === undefined ? route(logged, url, fault) : redirection(fault.redirect, url.pathname);
    const answer = { ...right, status: fault.as ?? right.status };
    logged.status = answer.status;
    await send(response, answer, fault, stop.signal, (bytes) => {
      logged.sentBytes += bytes;
    });
  }

  function strike(path: string): Fault {
    for (const plan of faults) {
      const { fault } = plan;
      if (typeof fault.path === 'string' ? !path.includes(fault.path) : !fault.path.test(path)) continue;
      plan.seen += 1;
      if (plan.seen <= (fault.after ?? 0) || plan.struck >= (fault.times ?? Number.POSITIVE_INFINITY)) continue;
      plan.struck += 1;
      return fault;
    }
    return { path };
  }

  function route(logged: LoggedRequest, url: URL, fault: Fault): Answer {
    if (fault.status !== undefined) {
      return refusal(fault.status, fault.error?.code ?? 'UNKNOWN', fault.error?.message ?? 'planned fault');
    }
    if (url.pathname === '/token') return token(logged, url);
    const challenge = unauthorized(logged);
    if (challenge !== undefined) return challenge;
    if (url.pathname === '/v2/' || url.pathname === '/v2') return { status: 200, headers: {}, body: Buffer.from('{}') };
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url.pathname);
    if (match === null) return refusal(404, 'NOT_FOUND', 'no such route');
    const [, repository = '', kind, name = ''] = match;
    return kind === 'manifests' ? manifest(repository, name) : blobAnswer(name, logged, fault);
  }

  function unauthorized({ path, authorization }: LoggedRequest): Answer | undefined {
    if (auth.kind === 'none') return undefined;
    const isIn =
      auth.kind === 'basic' ? authorization === basic(auth.username, auth.password) : hasToken(authorization, path);
    if (isIn) return undefined;
    const repository = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(path)?.[1];
    const scope = repository === undefined ? '' : `,scope="repository:${repository}:pull"`;
    const challenge =
      auth.kind === 'basic'
        ? 'Basic realm="test registry"'
        : `Bearer realm="${auth.realm ?? `${origin}/token`}",service="${SERVICE}"${scope}`;
    const answer = refusal(401, 'UNAUTHORIZED', 'authentication required');
    return { ...answer, headers: { ...answer.headers, 'www-authenticate': challenge } };
  }

  function hasToken(authorization: string | undefined, path: string): boolean {
    const given = /^Bearer (.+)$/.exec(authorization ?? '')?.[1];
    if (given === undefined || (tokens.get(given) ?? 0) <= Date.now()) return false;
    const scope = Buffer.from(given.split('.')[0] ?? '', 'base64url').toString('utf8');
    return path === '/v2/' || scope === `repository:${/^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(path)?.[1] ?? ''}:pull`;
  }

  /** `GET` with Basic, or `POST` with `grant_type=refresh_token`, where the password is the refresh token. */
  function token({ method, authorization, body }: LoggedRequest, url: URL): Answer {
    if (auth.kind !== 'bearer') return refusal(404, 'NOT_FOUND', 'no token server');
    const form = new URLSearchParams(body);
    const isIn =
      auth.username === undefined ||
      (method === 'POST'
        ? form.get('grant_type') === 'refresh_token' && form.get('refresh_token') === auth.password
        : authorization === basic(auth.username, auth.password ?? ''));
    if (!isIn) return refusal(401, 'UNAUTHORIZED', 'incorrect username or password');
    const parameters = method === 'POST' ? form : url.searchParams;
    if (parameters.get('service') !== SERVICE) return refusal(400, 'UNSUPPORTED', 'wrong service');
    const seconds = auth.tokenSeconds ?? 300;
    const value = `${Buffer.from(parameters.get('scope') ?? '').toString('base64url')}.${randomBytes(12).toString('hex')}`;
    tokens.set(value, Date.now() + seconds * 1000);
    const name = method === 'POST' ? 'access_token' : 'token';
    return json(200, { [name]: value, expires_in: seconds, issued_at: new Date().toISOString() });
  }

  function manifest(repository: string, name: string): Answer {
    const stored = manifests.get(name.includes(':') ? `${repository}@${name}` : `${repository}:${name}`);
    if (stored === undefined) return refusal(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    const headers = { 'content-type': stored.mediaType, 'docker-content-digest': sha256(stored.bytes) };
    return { status: 200, headers, body: stored.bytes };
  }

  function blobAnswer(digest: string, { range, ifRange }: LoggedRequest, fault: Fault): Answer {
    const whole = blobs.get(digest);
    if (whole === undefined) return refusal(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
    const bytes = fault.corruptAt === undefined ? whole : corrupted(whole, fault.corruptAt);
    const etag = `"${digest}"`;
    const headers = { 'content-type': 'application/octet-stream', 'docker-content-digest': digest, etag };
    const isChanged = ifRange !== undefined && ifRange !== etag;
    const first = /^bytes=([0-9]+)-$/.exec(range ?? '')?.[1];
    if (first === undefined || fault.ignoreRange || isChanged) return { status: 200, headers, body: bytes };
    const start = Number(first) + (fault.shiftRange ?? 0);
    if (start >= bytes.length) {
      return {
        ...refusal(416, 'RANGE_INVALID', 'invalid range'),
        headers: { 'content-range': `bytes */${bytes.length}` },
      };
    }
    const part = { ...headers, 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
    return { status: 206, headers: part, body: bytes.subarray(start) };
  }

  function putBlob(bytes: Buffer, mediaType = 'application/octet-stream'): Descriptor {
    const digest = sha256(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  function putManifest(
    repository: string,
    tag: string | undefined,
    content: object | Buffer,
    mediaType?: string,
  ): string {
    const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
    const own = 'mediaType' in content && typeof content.mediaType === 'string' ? content.mediaType : OCI_MANIFEST;
    const stored = { bytes, mediaType: mediaType ?? own };
    const digest = sha256(bytes);
    manifests.set(`${repository}@${digest}`, stored);
    if (tag !== undefined) manifests.set(`${repository}:${tag}`, stored);
    return digest;
  }

  function pushImage({ repository, tag = 'latest', layers, config = {}, platform }: ImageSource): PushedImage {
    const descriptors = layers.map(({ tar, compression = 'gzip' }) =>
      putBlob(compress(tar, compression), LAYER_TYPES[compression]),
    );
    const diffIds = layers.map(({ tar }) => sha256(tar));
    const full = { os: 'linux', architecture: hostArchitecture(), ...platform };
    const document = {
      created: '2024-01-01T00:00:00Z',
      ...full,
      config,
      rootfs: { type: 'layers', diff_ids: diffIds },
    };
    const manifest = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: putBlob(Buffer.from(JSON.stringify(document)), OCI_CONFIG),
      layers: descriptors,
    };
    const digest = putManifest(repository, tag, manifest);
    const size = Buffer.byteLength(JSON.stringify(manifest));
    return {
      digest,
      descriptor: { mediaType: OCI_MANIFEST, digest, size, platform: full },
      manifest,
      layers: descriptors,
      diffIds,
      reference: `${host}/${repository}:${tag}`,
    };
  }

  return {
    host,
    port: address.port,
    url: origin,
    requests,
    putBlob,
    blob: (digest) => blobs.get(digest),
    putManifest,
    pushImage,
    pushIndex: (repository, tag, entries, mediaType = OCI_INDEX) =>
      putManifest(repository, tag, { schemaVersion: 2, mediaType, manifests: entries }),
    plan: (fault) => {
      faults.push(planned(fault));
    },
    clearFaults: () => {
      faults = [];
    },
    clear: () => {
      blobs.clear();
      manifests.clear();
      requests.length = 0;
      faults = [];
    },
    expireTokens: () => tokens.clear(),
    dropConnections: () => server.closeAllConnections(),
    connections: () => ({ open: sockets.size, peak }),
    close: async () => {
      stop.abort();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

function planned(fault: Fault): PlannedFault {
  return { fault, seen: 0, struck: 0 };
}

function json(status: number, value: unknown): Answer {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(value)) };
}

/** Distribution spec, "Error Codes". */
function refusal(status: number, code: string, message: string): Answer {
  return json(status, { errors: [{ code, message, detail: null }] });
}

function redirection(target: string, path: string): Answer {
  return { status: 307, headers: { location: target.replace('{path}', path) }, body: Buffer.alloc(0) };
}

const PIECE = 256 * 1024;

async function send(
  response: ServerResponse,
  answer: Answer,
  fault: Fault,
  signal: AbortSignal,
  onSent: (bytes: number) => void,
): Promise<void> {
  const content = fault.body === undefined ? answer.body : Buffer.from(fault.body);
  const body = fault.append === undefined ? content : Buffer.concat([content, fault.append]);
  const isChunked = fault.append !== undefined || fault.endAfter !== undefined;
  const headers: Record<string, string | readonly string[] | undefined> = {
    ...answer.headers,
    ...(!isChunked && { 'content-length': String(body.length) }),
    ...fault.headers,
  };
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) response.setHeader(name, value);
  response.writeHead(answer.status);
  response.flushHeaders();

  const limit = Math.min(
    body.length,
    fault.cutAfter ?? fault.resetAfter ?? fault.stallAfter ?? fault.endAfter ?? body.length,
  );
  const piece = fault.bytesPerSecond === undefined ? PIECE : Math.max(1, Math.ceil(fault.bytesPerSecond / 50));
  for (let offset = 0; offset < limit && !response.destroyed; offset += piece) {
    response.write(body.subarray(offset, Math.min(limit, offset + piece)));
    onSent(Math.min(limit, offset + piece) - offset);
    if (fault.bytesPerSecond !== undefined) await sleep(20, undefined, { signal });
    if (response.writableNeedDrain && !response.destroyed) await drained(response);
  }
  if (fault.stallAfter !== undefined) return;
  if (fault.resetAfter !== undefined) response.socket?.resetAndDestroy();
  // Everything written goes out before the end, though the answer has promised more.
  else if (fault.cutAfter !== undefined) response.write('', () => response.socket?.destroySoon());
  else response.end();
}

/** Resolves when more can be written, or the client has gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

async function readBody(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += String(chunk);
  return text;
}

function oneValue(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(', ') : header;
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function corrupted(bytes: Buffer, offset: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(offset) ^ 0xff, offset);
  return copy;
}

function compress(tar: Buffer, compression: 'gzip' | 'zstd' | 'none'): Buffer {
  if (compression === 'none') return tar;
  return compression === 'gzip' ? gzipSync(tar, { level: 1 }) : zstdFrame(tar);
}

const ZSTD_BLOCK = 128 * 1024;

/**
 * A zstd frame of raw blocks (RFC 8878, 3.1.1): valid for every decoder, though not smaller. Node 20 has no zstd of its own,
 * and tests of this kind want its frames, not its ratio.
 */
export function zstdFrame(bytes: Buffer): Buffer {
  // Magic number; a frame header without content size and checksum; a window of 128 KiB.
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38])];
  for (let offset = 0; offset === 0 || offset < bytes.length; offset += ZSTD_BLOCK) {
    const block = bytes.subarray(offset, offset + ZSTD_BLOCK);
    const isLast = offset + ZSTD_BLOCK >= bytes.length;
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (isLast ? 1 : 0), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}
