import { orCancelled } from '../cancellation.ts';
import type { AddressGuard } from '../connection/address-policy.ts';
import type { Connections } from '../connection/connections.ts';
import { DeadlineError, exchange } from '../connection/exchange.ts';
import { hostAndPort, isLoopbackHost } from '../connection/host.ts';
import {
  isCertificateError,
  isTlsAlert,
  isUnreachable,
  networkError,
  ProxyError,
} from '../connection/network-error.ts';
import { StallError } from '../connection/stall.ts';
import { OciError } from '../error.ts';
import { errorCode } from '../system-error.ts';
import type { RegistryConfiguration } from './registry-settings.ts';

export interface RegistryOriginOptions {
  readonly connections: Connections;
  readonly probeTimeoutMs: number;
  readonly configuration: RegistryConfiguration;
  readonly guard: AddressGuard;
}

/** How long a probe's result is used: the registry may be set up again, with TLS this time. */
const BELIEVED_MS = 5 * 60_000;

/** Errors from a port that nobody listens on, whether the host or a firewall answers. */
const CLOSED_PORT: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH']);

interface KnownOrigin {
  readonly origin: URL;
  readonly until: number;
}

/**
 * The origin of a registry's API: always `https://host`, except that a loopback host, or one configured insecure, is probed from time
 * to time for TLS, and `http://host` is used when it does not speak it. TLS is tried first, as Docker does, so that nothing is sent
 * in the clear to a registry that could encrypt.
 */
export class RegistryOrigins {
  readonly #options: RegistryOriginOptions;
  readonly #known = new Map<string, KnownOrigin>();
  readonly #pending = new Map<string, Promise<URL>>();

  constructor(options: RegistryOriginOptions) {
    this.#options = options;
  }

  /** @param host `host[:port]` @throws OciError `registry_unreachable`, `address_denied` or `cancelled` */
  async of(host: string, signal: AbortSignal | undefined): Promise<URL> {
    const secure = new URL(`https://${host}`);
    if (!this.#mayBePlain(host)) return secure;
    const known = this.#known.get(host);
    if (known !== undefined && known.until > performance.now()) return known.origin;
    return orCancelled(this.#pending.get(host) ?? this.#startProbe(host, secure), signal);
  }

  /** A registry that is named without a port, and configured insecure for port 443 only, is not asked on port 80. */
  #mayBePlain(host: string): boolean {
    const { configuration } = this.#options;
    const plain = hostAndPort(new URL(`http://${host}`));
    return isLoopbackHost(host) || (configuration.isInsecure(host) && configuration.isInsecure(plain));
  }

  #startProbe(host: string, secure: URL): Promise<URL> {
    const probing = this.#probe(host, secure).finally(() => this.#pending.delete(host));
    this.#pending.set(host, probing);
    return probing;
  }

  async #probe(host: string, secure: URL): Promise<URL> {
    const { guard } = this.#options;
    guard.assertHost(secure.host, secure.protocol);
    const speaks = await this.#speaksTls(secure);
    const origin = speaks === 'tls' ? secure : new URL(`http://${host}`);
    if (speaks !== 'nothing') this.#known.set(host, { origin, until: performance.now() + BELIEVED_MS });
    return origin;
  }

  /**
   * `nothing`: the server accepted the connection and stayed silent, as some do when they do not understand TLS, and all do when they
   * hang; or nobody listens on the HTTPS port.
   */
  async #speaksTls(secure: URL): Promise<'tls' | 'plain' | 'nothing'> {
    const { connections, probeTimeoutMs } = this.#options;
    const url = new URL('/v2/', secure);
    try {
      await exchange({
        dispatcher: connections.for(url, 'metadata'),
        url,
        method: 'GET',
        headers: {},
        stallTimeoutMs: probeTimeoutMs,
        deadlineMs: probeTimeoutMs,
        receive: () => () => 'stop',
      });
      return 'tls';
    } catch (error) {
      if (error instanceof DeadlineError || error instanceof StallError) return 'nothing';
      if (errorCode(error) === 'UND_ERR_CONNECT_TIMEOUT') return 'nothing';
      const proxy = connections.proxyFor(url);
      // Where no port is given, plain HTTP has another one, which may be open.
      if (CLOSED_PORT.has(errorCode(error)) && proxy === undefined && secure.port === '') return 'nothing';
      const isKnown = error instanceof OciError || error instanceof ProxyError || isUnreachable(error);
      if (isKnown || isCertificateError(error) || isTlsAlert(error)) {
        throw networkError(error, secure, 'metadata', proxy);
      }
      return 'plain';
    }
  }
}
