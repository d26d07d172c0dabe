import { AddressGuard, type AddressPolicy } from './address-policy.ts';
import { Connections } from './connections.ts';
import { Download, type DownloadOptions } from './download.ts';
import { Http } from './http.ts';
import type { Descriptor } from './manifest.ts';
import { isMirrorFailure, mirrorSources } from './mirror.ts';
import type { ProxySettings } from './proxy.ts';
import { Redaction } from './redaction.ts';
import type { Reference } from './reference.ts';
import { type CredentialSource, RegistryApi } from './registry-api.ts';
import { RegistryOrigins } from './registry-origin.ts';
import { RegistryConfiguration, type RegistrySettings } from './registry-settings.ts';
import { type ResolvedImage, type ResolveOptions, Resolver } from './resolver.ts';
import { type RetryNotice, type RetryOptions, withRetries } from './retry.ts';

export interface RegistryClientOptions {
  /** `host[:port]` of registries that may be spoken to over plain HTTP or without a trusted certificate, as Docker's option of that name. */
  readonly insecureRegistries?: readonly string[];
  /** PEM certificates that are trusted for every host, beside the usual ones. */
  readonly certificateAuthorities?: readonly string[];
  /** Settings of single registries, by `host[:port]`: TLS and mirrors. */
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
  /** No head of an answer for so long, or no byte of a body, is a stall. Default 30 s. */
  readonly stallTimeoutMs?: number;
  readonly retry?: Partial<RetryOptions>;
  /** Told of each failed attempt that is made again, for logs: nothing waits without a word. */
  readonly onRetry?: (notice: RetryNotice) => void;
  readonly userAgent?: string;
}

/** Reads images from registries (distribution spec, "Pull"). One for a process: it holds the connections and tokens. */
export interface RegistryClient {
  /** What the reference points to now: manifest, config and layers for one platform, all checked against their digests. */
  resolve(reference: Reference, options?: ResolveOptions): Promise<ResolvedImage>;
  /** Digest of the image manifest that the reference points to now for the platform; fewer requests than `resolve`. */
  resolveDigest(reference: Reference, options?: ResolveOptions): Promise<string>;
  /**
   * Appends a blob to a file until the size of its descriptor is reached, going on from the bytes that are there. Bytes
   * are in the page cache when they are reported; they are not hashed here: who reads them does that.
   *
   * @throws OciError; the file keeps what came
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
  readonly api: Pick<RegistryApi, 'get'>;
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

  resolveDigest(reference: Reference, options: ResolveOptions = {}): Promise<string> {
    return this.#resolveWith(reference, options, (resolver) => resolver.digest());
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

  /** Mirrors get one attempt each: there is somebody else to ask. */
  #resolveWith<T>(reference: Reference, options: ResolveOptions, run: (resolver: Resolver) => Promise<T>): Promise<T> {
    return this.#redacting(async ({ api, onRetry }) => {
      for (const { reference: source, credentials } of mirrorSources(this.#configuration, reference)) {
        try {
          return await run(new Resolver(api, reference, { ...options, credentials }, source));
        } catch (error) {
          if (!isMirrorFailure(error)) throw error;
          onRetry({ error, delayMs: 0, failures: 1 });
        }
      }
      return withRetries(() => run(new Resolver(api, reference, options)), this.#retry, options.signal, onRetry);
    });
  }

  /** Runs with an API that learns what secrets are shown, so that no error and no notice of this call repeats one. */
  async #redacting<T>(run: (guarded: GuardedCall) => Promise<T>): Promise<T> {
    const redaction = new Redaction();
    try {
      return await run({
        api: { get: (request) => this.#api.get({ ...request, redaction }) },
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
    headersTimeoutMs: stallTimeoutMs,
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
