import { Redaction } from './authentication/redaction.ts';
import { AddressGuard, type AddressPolicy } from './connection/address-policy.ts';
import { Connections } from './connection/connections.ts';
import { Http } from './connection/http.ts';
import type { ProxySettings } from './connection/proxy.ts';
import { Download, type DownloadOptions } from './download/download.ts';
import type { Descriptor } from './image/manifest.ts';
import type { Reference } from './image/reference.ts';
import { HeadRequests } from './registry/head-requests.ts';
import { isMirrorFailure, mirrorSources } from './registry/mirror.ts';
import { type CredentialSource, RegistryApi } from './registry/registry-api.ts';
import { RegistryOrigins } from './registry/registry-origin.ts';
import { RegistryConfiguration, type RegistrySettings } from './registry/registry-settings.ts';
import type { Resolution } from './registry/resolution.ts';
import { type ResolvedImage, type ResolveOptions, Resolver } from './registry/resolver.ts';
import { type RetryNotice, type RetryOptions, withRetries } from './registry/retry.ts';

export interface RegistryClientOptions {
  /** `host[:port]` of registries that may use plain HTTP or an untrusted certificate, as Docker's `insecure-registries`. */
  readonly insecureRegistries?: readonly string[];
  /** PEM certificates trusted for every host, in addition to the usual ones. */
  readonly certificateAuthorities?: readonly string[];
  /** Settings of individual registries, by `host[:port]`: TLS and mirrors. */
  readonly registries?: Readonly<Record<string, RegistrySettings>>;
  /** Which addresses may be connected to. Default: all. */
  readonly addressPolicy?: AddressPolicy;
  /** Default: from the environment. */
  readonly proxies?: ProxySettings;
  /** The server's own credentials, for pulls that bring none; see `dockerConfigCredentials`. */
  readonly credentialSource?: CredentialSource;
  /** Most blob connections to one host at a time. Default 8. */
  readonly connectionsPerHost?: number;
  /** Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** Longest silence while waiting for a response's head, or for more of its body. Default 30 s. */
  readonly stallTimeoutMs?: number;
  readonly retry?: Partial<RetryOptions>;
  /** Called before each retry, for logs: no wait goes unreported. */
  readonly onRetry?: (notice: RetryNotice) => void;
  readonly userAgent?: string;
}

/** Reads images from registries (distribution spec, "Pull"). One per process: it holds the connections and tokens. */
export interface RegistryClient {
  /**
   * What the reference points to now: manifest, config and layers for one platform, manifest and config verified by their digests.
   *
   * @throws OciError `manifest_unknown`, `unauthorized`, `platform_not_found`, `unsupported_media_type`, `invalid_manifest`, …
   */
  resolve(reference: Reference, options?: ResolveOptions): Promise<ResolvedImage>;
  /** The digests that the reference resolves to now, with fewer requests than `resolve`. */
  resolveDigests(reference: Reference, options?: ResolveOptions): Promise<Resolution>;
  /**
   * Whether the reference resolves to what it did before, by a mirror's word or the registry's. Takes a HEAD request each, which
   * registries that limit pulls do not count as one. False also if that cannot be told in this way: then resolve it.
   *
   * @throws OciError `unauthorized`, if there is no mirror to ask, `cancelled`
   */
  isUnchanged(reference: Reference, known: Resolution, options?: ResolveOptions): Promise<boolean>;
  /**
   * Appends a blob to a file up to the size in its descriptor, continuing after the bytes that are already there. Bytes are in
   * the page cache once they are reported. They are not hashed: the reader of the file does that.
   *
   * @throws OciError; the file keeps what was received
   */
  download(
    reference: Reference,
    descriptor: Descriptor,
    destinationPath: string,
    options?: DownloadOptions,
  ): Promise<void>;
  /** Ends all connections; requests under way fail. */
  close(): Promise<void>;
}

interface GuardedCall {
  readonly api: Pick<RegistryApi, 'send'>;
  readonly onRetry: (notice: RetryNotice) => void;
}

const DEFAULT_RETRY: RetryOptions = { attempts: 6, baseDelayMs: 500, maxDelayMs: 30_000, maxRetryAfterMs: 120_000 };
const METADATA_DEADLINE_MS = 60_000;

export function createRegistryClient(options: RegistryClientOptions = {}): RegistryClient {
  return new Client(options);
}

class Client implements RegistryClient {
  readonly #configuration: RegistryConfiguration;
  readonly #connections: Connections;
  readonly #api: RegistryApi;
  readonly #heads = new HeadRequests();
  readonly #retry: RetryOptions;
  readonly #onRetry: (notice: RetryNotice) => void;

  constructor(options: RegistryClientOptions) {
    this.#configuration = new RegistryConfiguration(options);
    this.#retry = { ...DEFAULT_RETRY, ...options.retry };
    this.#onRetry = options.onRetry ?? (() => undefined);
    const { api, connections } = createApi(options, this.#configuration);
    this.#api = api;
    this.#connections = connections;
  }

  resolve(reference: Reference, options: ResolveOptions = {}): Promise<ResolvedImage> {
    return this.#resolveWith(reference, options, (resolver) => resolver.image());
  }

  resolveDigests(reference: Reference, options: ResolveOptions = {}): Promise<Resolution> {
    return this.#resolveWith(reference, options, (resolver) => resolver.digests());
  }

  isUnchanged(reference: Reference, known: Resolution, options: ResolveOptions = {}): Promise<boolean> {
    const sources = [...mirrorSources(this.#configuration, reference), { reference, credentials: options.credentials }];
    return this.#redacting(async ({ api }) => {
      for (const { reference: source, credentials } of sources) {
        const ask = (signal: AbortSignal): Promise<boolean> =>
          new Resolver({ api, reference, source, options: { ...options, credentials, signal } }).isUnchanged(known);
        try {
          if (await this.#heads.isTrue(source.domain, options.signal, ask)) return true;
        } catch (error) {
          // What one of several hosts refuses, another may have.
          if (sources.length === 1 || !isMirrorFailure(error)) throw error;
        }
      }
      return false;
    });
  }

  download(
    reference: Reference,
    descriptor: Descriptor,
    destinationPath: string,
    options: DownloadOptions = {},
  ): Promise<void> {
    const mirrors = options.avoidMirrors ? [] : mirrorSources(this.#configuration, reference);
    const sources = [...mirrors, { reference, credentials: options.credentials }];
    return this.#redacting((guarded) =>
      new Download({ ...guarded, reference, sources, descriptor, options, retry: this.#retry }).into(destinationPath),
    );
  }

  close(): Promise<void> {
    return this.#connections.close();
  }

  /** Mirrors get one attempt each, since there is another host to ask. */
  #resolveWith<T>(reference: Reference, options: ResolveOptions, run: (resolver: Resolver) => Promise<T>): Promise<T> {
    return this.#redacting(async ({ api, onRetry }) => {
      for (const { reference: source, credentials } of mirrorSources(this.#configuration, reference)) {
        try {
          return await run(new Resolver({ api, reference, source, options: { ...options, credentials } }));
        } catch (error) {
          if (!isMirrorFailure(error)) throw error;
          onRetry({ error, delayMs: 0, failures: 1 });
        }
      }
      return withRetries(() => run(new Resolver({ api, reference, options })), this.#retry, options.signal, onRetry);
    });
  }

  /** Runs with an API that records the secrets it sends, so that no error or notice of this call repeats one. */
  async #redacting<T>(run: (guarded: GuardedCall) => Promise<T>): Promise<T> {
    const redaction = new Redaction();
    try {
      return await run({
        api: { send: (request) => this.#api.send({ ...request, redaction }) },
        onRetry: (notice) => this.#onRetry({ ...notice, error: redaction.error(notice.error) }),
      });
    } catch (error) {
      throw redaction.redacted(error);
    }
  }
}

function createApi(
  options: RegistryClientOptions,
  configuration: RegistryConfiguration,
): { api: RegistryApi; connections: Connections } {
  const { connectTimeoutMs = 10_000, stallTimeoutMs = 30_000, connectionsPerHost = 8, proxies = {} } = options;
  const guard = new AddressGuard(options.addressPolicy);
  const connections = new Connections({ connectionsPerHost, connectTimeoutMs, configuration, guard, proxies });
  const http = new Http({
    connections,
    userAgent: options.userAgent ?? defaultUserAgent(),
    stallTimeoutMs,
    metadataDeadlineMs: METADATA_DEADLINE_MS,
    configuration,
    guard,
  });
  const origins = new RegistryOrigins({ connections, probeTimeoutMs: connectTimeoutMs, configuration, guard });
  return { api: new RegistryApi(http, origins, options.credentialSource), connections };
}

function defaultUserAgent(): string {
  return `bhatti/${process.env.BHATTI_VERSION ?? 'dev'} (images)`;
}
