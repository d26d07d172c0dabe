import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { rootCertificates, type ConnectionOptions as TlsOptions } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import type { AddressGuard } from './address-policy.ts';
import { hostName, isLoopbackHost } from './host.ts';
import { isExcludedAddress } from './no-proxy.ts';
import type { RegistryConfiguration } from './registry-settings.ts';

/**
 * What a request is for. Blobs have a pool of their own, so that a manifest never waits behind long downloads.
 */
export type Purpose = 'metadata' | 'blob';

/** Proxies on the way out. What is left out is taken from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or in lower case). */
export interface ProxySettings {
  readonly http?: string;
  readonly https?: string;
  /** Hosts that are connected to directly, separated by commas. */
  readonly exclude?: string;
}

export interface ConnectionOptions {
  /** Most connections for blobs to one host at a time; further requests wait. */
  readonly connectionsPerHost: number;
  readonly connectTimeoutMs: number;
  readonly configuration: RegistryConfiguration;
  readonly guard: AddressGuard;
  readonly proxies: ProxySettings;
}

/** Two are enough for manifests and tokens, which are small. */
const METADATA_CONNECTIONS_PER_HOST = 2;
const KEEP_ALIVE_MS = 15_000;
/** Signed URLs of storage hold whole session tokens, policies of content have long lists. Node's own limit is 16 KiB. */
const HEADER_BYTES = 128 * 1024;

/** The open connections of one client, kept alive between requests, capped for each host. */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #dispatchers = new Map<string, Dispatcher>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  for(url: URL, purpose: Purpose): Dispatcher {
    // Hosts without TLS settings of their own share one; within it, each origin has its pool.
    const trust = this.#options.configuration.hasOwnTrust(url.host) ? url.host : '';
    // Proxies are for the way out: like Go's, this one is never asked for the machine itself.
    const isDirect =
      isLoopbackHost(url.host) || isExcludedAddress(url.host, this.#noProxy()) || this.#isWithoutProxy(url);
    const key = `${purpose} ${isDirect} ${trust}`;
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const dispatcher = this.#create(url.host, purpose, isDirect);
    this.#dispatchers.set(key, dispatcher);
    return dispatcher;
  }

  /** Ends every connection at once; requests under way fail. */
  async close(): Promise<void> {
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  /** HTTP_PROXY is for plain HTTP alone, as curl and Go's tools have it; undici would take it for both. */
  #isWithoutProxy({ protocol }: URL): boolean {
    if (protocol !== 'https:') return false;
    return !(this.#options.proxies.https ?? process.env.https_proxy ?? process.env.HTTPS_PROXY);
  }

  /** As undici looks for it. */
  #noProxy(): string {
    return this.#options.proxies.exclude ?? process.env.no_proxy ?? process.env.NO_PROXY ?? '';
  }

  #create(host: string, purpose: Purpose, isDirect: boolean): Dispatcher {
    const { connectTimeoutMs, connectionsPerHost, proxies } = this.#options;
    const tls = this.#tls(host);
    const options = {
      connections: purpose === 'blob' ? connectionsPerHost : METADATA_CONNECTIONS_PER_HOST,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: HEADER_BYTES,
      connect: this.#connector({ ...tls, timeout: connectTimeoutMs }),
    };
    if (isDirect) return new Agent(options);
    return new EnvHttpProxyAgent({
      ...options,
      requestTls: { ...tls, timeout: connectTimeoutMs },
      proxyTls: { ...this.#tls(''), timeout: connectTimeoutMs },
      ...(proxies.http !== undefined && { httpProxy: proxies.http }),
      ...(proxies.https !== undefined && { httpsProxy: proxies.https }),
      ...(proxies.exclude !== undefined && { noProxy: proxies.exclude }),
    });
  }

  #tls(host: string): TlsOptions {
    const { configuration } = this.#options;
    const authorities = configuration.certificateAuthorities(host);
    return {
      ...(authorities.length > 0 && { ca: [...usualCertificates(), ...authorities] }),
      ...(configuration.isInsecure(host) && { rejectUnauthorized: false }),
    };
  }

  /** Connects as undici does, to addresses that the policy allows. */
  #connector(options: buildConnector.BuildOptions): buildConnector.connector {
    const { guard } = this.#options;
    const connect = buildConnector(options);
    const connectGuarded = buildConnector({ ...options, lookup: guard.lookup });
    return (target, callback) => {
      const host = target.host ?? target.hostname;
      if (!guard.watches(host)) return connect(target, callback);
      try {
        // Sockets resolve names, and are not asked for addresses.
        if (isIP(hostName(host)) !== 0) guard.assertHost(host);
      } catch (error) {
        return callback(error instanceof Error ? error : new Error(String(error)), null);
      }
      return connectGuarded(target, callback);
    };
  }
}

/** Certificates stated for a connection replace the usual ones, so those are stated too, with what NODE_EXTRA_CA_CERTS adds. */
function usualCertificates(): string[] {
  const path = process.env.NODE_EXTRA_CA_CERTS;
  if (!path) return [...rootCertificates];
  try {
    return [...rootCertificates, readFileSync(path, 'utf8')];
  } catch {
    // Node itself warns of a file that it cannot read, and goes on.
    return [...rootCertificates];
  }
}
