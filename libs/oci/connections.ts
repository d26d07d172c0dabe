import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { isLoopbackHost } from './host.ts';

/**
 * What a request is for. Blobs have a pool of their own, so that a manifest never waits behind long downloads.
 */
export type Purpose = 'metadata' | 'blob';

export interface ConnectionOptions {
  /** Most connections for blobs to one host at a time; further requests wait. */
  readonly connectionsPerHost: number;
  readonly connectTimeoutMs: number;
  /** PEM certificates that are trusted beside the usual ones. */
  readonly certificateAuthorities: readonly string[];
  /** Whether the certificate of this `host[:port]` is not checked. */
  readonly isInsecure: (host: string) => boolean;
}

/** Two are enough for manifests and tokens, which are small. */
const METADATA_CONNECTIONS_PER_HOST = 2;
const KEEP_ALIVE_MS = 15_000;

/** The open connections of one client, kept alive between requests, capped for each host. */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #dispatchers = new Map<string, Dispatcher>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  for(url: URL, purpose: Purpose): Dispatcher {
    const isInsecure = this.#options.isInsecure(url.host);
    // Proxies are for the way out: like Go's, this one is never asked for the machine itself.
    const isDirect = isLoopbackHost(url.host);
    const key = `${purpose} ${isInsecure} ${isDirect}`;
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const dispatcher = this.#create(purpose, isInsecure, isDirect);
    this.#dispatchers.set(key, dispatcher);
    return dispatcher;
  }

  /** Ends every connection at once; requests under way fail. */
  async close(): Promise<void> {
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  #create(purpose: Purpose, isInsecure: boolean, isDirect: boolean): Dispatcher {
    const { certificateAuthorities, connectTimeoutMs, connectionsPerHost } = this.#options;
    const tls = {
      ...(certificateAuthorities.length > 0 && { ca: [...rootCertificates, ...certificateAuthorities] }),
      ...(isInsecure && { rejectUnauthorized: false }),
    };
    const options = {
      connections: purpose === 'blob' ? connectionsPerHost : METADATA_CONNECTIONS_PER_HOST,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connect: { ...tls, timeout: connectTimeoutMs },
    };
    return isDirect ? new Agent(options) : new EnvHttpProxyAgent({ ...options, requestTls: tls });
  }
}
