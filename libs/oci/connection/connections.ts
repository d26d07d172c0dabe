import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { rootCertificates, type ConnectionOptions as TlsOptions } from 'node:tls';
import { Agent, buildConnector, type Dispatcher } from 'undici';
import type { RegistryConfiguration } from '../registry/registry-settings.ts';
import type { AddressGuard } from './address-policy.ts';
import { keepingTlsErrors } from './connector.ts';
import { hostAndPort, hostName } from './host.ts';
import { type ProxySettings, proxyFor } from './proxy.ts';
import { createProxyAgent } from './proxy-agent.ts';

/** What a request is for. Blobs have a pool of their own, so that a manifest never waits behind long downloads. */
export type Purpose = 'metadata' | 'blob';

export interface ConnectionOptions {
  /** Most blob connections to one host at a time; further requests wait. */
  readonly connectionsPerHost: number;
  readonly connectTimeoutMs: number;
  readonly configuration: RegistryConfiguration;
  readonly guard: AddressGuard;
  readonly proxies: ProxySettings;
}

/** Enough for manifests and tokens, which are small. */
const METADATA_CONNECTIONS_PER_HOST = 2;
const KEEP_ALIVE_MS = 15_000;
/** Signed storage URLs contain whole session tokens, and content security policies are long. Node's own limit is 16 KiB. */
const HEADER_BYTES = 128 * 1024;

/**
 * A name's addresses are tried in turn, each for this fraction of the connect timeout. Node's default of 250 ms each is too short for a
 * distant registry; with much more, every connection would lose time to an address that leads nowhere (IPv6 without a route).
 */
const FRACTION_PER_ADDRESS = 1 / 10;

/** A proxy has so many times the connect timeout to connect: it may have to resolve the name, and to try several addresses in turn. */
const TUNNEL_FACTOR = 3;

/** The open connections of one client, kept alive between requests, limited per host. */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #dispatchers = new Map<string, Dispatcher>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** The dispatcher for a request to this URL. @throws OciError `invalid_request` for a malformed proxy setting */
  for(url: URL, purpose: Purpose): Dispatcher {
    // Hosts without TLS settings of their own share a dispatcher, in which each origin has its own pool.
    const host = hostAndPort(url);
    const trust = this.#options.configuration.hasOwnTls(host) ? host : '';
    const proxy = this.proxyFor(url);
    const key = `${purpose} ${proxy?.href ?? ''} ${trust}`;
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const dispatcher = this.#create(host, purpose, proxy);
    this.#dispatchers.set(key, dispatcher);
    return dispatcher;
  }

  /** The proxy for requests to this URL; undefined for a direct connection. @throws OciError `invalid_request` for a malformed setting */
  proxyFor(url: URL): URL | undefined {
    return proxyFor(url, this.#options.proxies);
  }

  /** Closes every connection at once; requests in progress fail. */
  async close(): Promise<void> {
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  #create(host: string, purpose: Purpose, proxy: URL | undefined): Dispatcher {
    const { connectTimeoutMs, connectionsPerHost } = this.#options;
    const tls = this.#tls(host);
    const times = {
      timeout: connectTimeoutMs,
      autoSelectFamilyAttemptTimeout: Math.ceil(connectTimeoutMs * FRACTION_PER_ADDRESS),
    };
    const options = {
      connections: purpose === 'blob' ? connectionsPerHost : METADATA_CONNECTIONS_PER_HOST,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: HEADER_BYTES,
    };
    if (proxy === undefined) return new Agent({ ...options, connect: this.#connector({ ...tls, ...times }) });
    return createProxyAgent({
      ...options,
      proxy,
      requestTls: { ...tls, ...times },
      proxyTls: { ...this.#tls(''), ...times },
      tunnelTimeoutMs: connectTimeoutMs * TUNNEL_FACTOR,
    });
  }

  #tls(host: string): TlsOptions {
    const { configuration } = this.#options;
    const authorities = configuration.certificateAuthorities(host);
    return {
      ...(authorities.length > 0 && { ca: [...usualCertificates(), ...authorities] }),
      ...configuration.clientCertificate(host),
      ...(configuration.isInsecure(host) && { rejectUnauthorized: false }),
    };
  }

  /** Connects as undici does, but only to addresses that the policy allows. */
  #connector(options: buildConnector.BuildOptions): buildConnector.connector {
    const { guard } = this.#options;
    const connect = keepingTlsErrors(buildConnector(options));
    const connectGuarded = keepingTlsErrors(buildConnector({ ...options, lookup: guard.lookup }));
    return (target, callback) => {
      const host = target.host ?? target.hostname;
      if (!guard.watches(host, target.protocol)) return connect(target, callback);
      try {
        // Sockets call `lookup` for names only, not for addresses.
        if (isIP(hostName(host)) !== 0) guard.assertHost(host, target.protocol);
      } catch (error) {
        return callback(error instanceof Error ? error : new Error(String(error)), null);
      }
      return connectGuarded(target, callback);
    };
  }
}

/** Certificates given for a connection replace the default ones, so those are given too, with what NODE_EXTRA_CA_CERTS adds. */
function usualCertificates(): string[] {
  const path = process.env.NODE_EXTRA_CA_CERTS;
  if (!path) return [...rootCertificates];
  try {
    return [...rootCertificates, readFileSync(path, 'utf8')];
  } catch {
    // Node itself only warns about a file that it cannot read.
    return [...rootCertificates];
  }
}
