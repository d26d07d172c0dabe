import type { Connections } from './connections.ts';
import { exchange } from './exchange.ts';
import { isLoopbackHost } from './host.ts';
import { cancelledError, isCertificateError, isUnreachable, networkError } from './network-error.ts';

export interface RegistryOriginOptions {
  readonly connections: Connections;
  readonly probeTimeoutMs: number;
  readonly isInsecure: (host: string) => boolean;
}

/**
 * Where a registry's API starts: `https://host`, always; but a loopback host, or one configured insecure, is asked once whether
 * it speaks TLS, and over plain HTTP when it does not. TLS is tried first, as Docker does, so that nothing is sent in the clear
 * to a registry that could encrypt.
 */
export class RegistryOrigins {
  readonly #options: RegistryOriginOptions;
  readonly #known = new Map<string, URL>();

  constructor(options: RegistryOriginOptions) {
    this.#options = options;
  }

  /** @throws OciError `registry_unreachable` or `cancelled` */
  async of(host: string, signal: AbortSignal | undefined): Promise<URL> {
    const known = this.#known.get(host);
    if (known !== undefined) return known;
    const secure = new URL(`https://${host}`);
    const mayBePlain = isLoopbackHost(host) || this.#options.isInsecure(host);
    const origin = !mayBePlain || (await this.#speaksTls(secure, signal)) ? secure : new URL(`http://${host}`);
    this.#known.set(host, origin);
    return origin;
  }

  async #speaksTls(secure: URL, signal: AbortSignal | undefined): Promise<boolean> {
    const { connections, probeTimeoutMs } = this.#options;
    const url = new URL('/v2/', secure);
    try {
      await exchange({
        dispatcher: connections.for(url, 'metadata'),
        url,
        method: 'GET',
        headers: {},
        signal,
        headersTimeoutMs: probeTimeoutMs,
        stallTimeoutMs: probeTimeoutMs,
        deadlineMs: probeTimeoutMs,
        receive: () => () => 'stop',
      });
      return true;
    } catch (error) {
      if (signal?.aborted) throw cancelledError(signal);
      if (isUnreachable(error) || isCertificateError(error))
        throw networkError(error, secure, 'metadata', probeTimeoutMs);
      return false;
    }
  }
}
