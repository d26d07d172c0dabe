import { cancelledError } from '../cancellation.ts';
import { OciError } from '../error.ts';
import { ERROR_BODY_LIMIT } from '../registry/registry-error.ts';
import type { RegistryConfiguration } from '../registry/registry-settings.ts';
import type { AddressGuard } from './address-policy.ts';
import type { Connections, Purpose } from './connections.ts';
import { collector, exchange, type Receiver, type ResponseHead } from './exchange.ts';
import { hostAndPort, isLoopbackHost, mayCarrySecret } from './host.ts';
import { networkError } from './network-error.ts';

export interface HttpOptions {
  readonly connections: Connections;
  readonly userAgent: string;
  readonly stallTimeoutMs: number;
  /** For the whole of a manifest or token request, so that a trickle of bytes cannot hold it up for ever. */
  readonly metadataDeadlineMs: number;
  readonly configuration: RegistryConfiguration;
  readonly guard: AddressGuard;
}

/** Value of an `Authorization` header. */
export interface Authorization {
  readonly value: string;
  /** Whether it was made from credentials; an anonymous token is not a secret. */
  readonly isSecret: boolean;
}

export interface HttpRequest {
  readonly url: URL;
  readonly purpose: Purpose;
  readonly method?: 'GET' | 'HEAD' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent to this URL's origin only, not to another that it redirects to. */
  readonly authorization?: Authorization;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Takes the body of a successful response. */
  readonly receive: (head: ResponseHead) => Receiver;
}

export interface HttpAnswer {
  readonly head: ResponseHead;
  /** Where the response came from in the end. */
  readonly url: URL;
  /** Whether that is another origin than the one that was asked. */
  readonly hasLeftHost: boolean;
  /** Body of a response with a status other than 200 and 206, cut off at a limit; empty otherwise. */
  readonly errorBody: Buffer;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const REDIRECT_LIMIT = 10;

/**
 * HTTP as a registry client needs it. Redirects are followed here rather than by undici, because each step decides what may be
 * sent where: `Authorization` is dropped when a redirect leaves the origin, and plain HTTP is only for loopback hosts and hosts
 * configured insecure.
 */
export class Http {
  readonly #options: HttpOptions;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /** @throws OciError `cancelled`, `registry_unreachable`, `download_stalled`, `registry_error`, or what the receiver threw */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    let url = request.url;
    let authorization = request.authorization;
    for (let redirects = 0; ; redirects += 1) {
      this.#assertAllowed(url);
      if (authorization?.isSecret) assertSecretMayGo(url);
      const { head, errorBody } = await this.#exchange(url, authorization, request);
      const location =
        REDIRECTS.has(head.status) && request.method !== 'POST' ? head.headers.get('location') : undefined;
      if (location === undefined) {
        return { head, url, hasLeftHost: url.origin !== request.url.origin, errorBody };
      }
      if (redirects >= REDIRECT_LIMIT) {
        throw new OciError('registry_error', `${request.url.host} redirects in a circle`, { host: request.url.host });
      }
      const next = redirectTarget(location, url);
      if (next.origin !== url.origin) authorization = undefined;
      url = next;
    }
  }

  async #exchange(
    url: URL,
    authorization: Authorization | undefined,
    { purpose, method = 'GET', headers, body, signal, receive }: HttpRequest,
  ): Promise<{ head: ResponseHead; errorBody: Buffer }> {
    const { connections, userAgent, stallTimeoutMs, metadataDeadlineMs } = this.#options;
    const errors = collector(ERROR_BODY_LIMIT);
    const proxy = connections.proxyFor(url);
    try {
      const head = await exchange({
        dispatcher: connections.for(url, purpose),
        url,
        method,
        headers: {
          'user-agent': userAgent,
          // Digests cover the bytes as they are stored; nothing on the way may compress them.
          'accept-encoding': 'identity',
          ...headers,
          ...(authorization !== undefined && { authorization: authorization.value }),
        },
        body,
        signal,
        stallTimeoutMs,
        deadlineMs: purpose === 'metadata' ? metadataDeadlineMs : undefined,
        receive: (answer) => (isSuccess(answer) ? receive(answer) : errors.receive),
      });
      return { head, errorBody: errors.bytes() };
    } catch (error) {
      if (signal?.aborted) throw cancelledError(signal);
      throw networkError(error, url, purpose, proxy);
    }
  }

  #assertAllowed(url: URL): void {
    const { configuration, guard } = this.#options;
    guard.assertHost(url.host, url.protocol);
    if (url.protocol === 'https:') return;
    if (url.protocol === 'http:' && (isLoopbackHost(url.host) || configuration.isInsecure(hostAndPort(url)))) return;
    throw new OciError(
      'registry_error',
      `${url.host} would have to be asked over plain HTTP, which is only done for loopback hosts and registries configured as insecure`,
      { host: url.host },
    );
  }
}

/** Whether the body is what was asked for, or a part of it. */
function isSuccess({ status }: ResponseHead): boolean {
  return status === 200 || status === 206;
}

/** @throws OciError `unauthorized` when a secret would be sent to this URL in the clear */
export function assertSecretMayGo(url: URL): void {
  if (mayCarrySecret(url)) return;
  throw new OciError(
    'unauthorized',
    `credentials are not sent to ${url.host} over plain HTTP; the registry needs TLS`,
    { host: url.host },
  );
}

function redirectTarget(location: string, base: URL): URL {
  const target = URL.canParse(location, base.href) ? new URL(location, base) : undefined;
  if (target === undefined)
    throw new OciError('registry_error', `${base.host} redirects to an invalid URL`, { host: base.host });
  if (target.protocol !== 'https:' && target.protocol !== 'http:')
    throw new OciError('registry_error', `${base.host} redirects to ${target.protocol}, which is not followed`, {
      host: base.host,
    });
  // A name and password in the URL would be sent as credentials.
  target.username = '';
  target.password = '';
  target.hash = '';
  return target;
}
