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
  const { connectTimeoutMs = 10_000, stallTimeoutMs = 30_000, connectionsPerHost = 8 } = options;
  const { onRetry = () => undefined, userAgent = defaultUserAgent() } = options;
  const retry = { ...DEFAULT_RETRY, ...options.retry };
  const configuration = new RegistryConfiguration(options);
  const guard = new AddressGuard(options.addressPolicy);
  const connections = new Connections({
    connectionsPerHost,
    connectTimeoutMs,
    configuration,
    guard,
    proxies: options.proxies ?? {},
  });
  const http = new Http({
    connections,
    userAgent,
    headersTimeoutMs: stallTimeoutMs,
    stallTimeoutMs,
    metadataDeadlineMs: METADATA_DEADLINE_MS,
    configuration,
    guard,
  });
  const origins = new RegistryOrigins({ connections, probeTimeoutMs: connectTimeoutMs, configuration, guard });
  const api = new RegistryApi(http, origins, options.credentialSource);

  /** Runs with an API that learns what secrets are shown, so that no error and no notice of this call repeats one. */
  async function redacting<T>(run: (guarded: GuardedCall) => Promise<T>): Promise<T> {
    const redaction = new Redaction();
    try {
      return await run({
        api: { get: (request) => api.get({ ...request, redaction }) },
        onRetry: (notice) => onRetry({ ...notice, error: redaction.error(notice.error) }),
      });
    } catch (error) {
      throw redaction.redacted(error);
    }
  }

  /** Mirrors get one attempt each: there is somebody else to ask. */
  function resolveWith<T>(
    reference: Reference,
    asked: ResolveOptions,
    run: (resolver: Resolver) => Promise<T>,
  ): Promise<T> {
    return redacting(async ({ api, onRetry }) => {
      for (const { reference: source, credentials } of mirrorSources(configuration, reference)) {
        try {
          return await run(new Resolver(api, reference, { ...asked, credentials }, source));
        } catch (error) {
          if (!isMirrorFailure(error)) throw error;
          onRetry({ error, delayMs: 0, failures: 1 });
        }
      }
      return withRetries(() => run(new Resolver(api, reference, asked)), retry, asked.signal, onRetry);
    });
  }

  return {
    resolve: (reference, asked = {}) => resolveWith(reference, asked, (resolver) => resolver.image()),
    resolveDigest: (reference, asked = {}) => resolveWith(reference, asked, (resolver) => resolver.digest()),
    download(reference, descriptor, destinationPath, asked = {}) {
      const mirrors = asked.avoidMirrors ? [] : mirrorSources(configuration, reference);
      const sources = [...mirrors, { reference, credentials: asked.credentials }];
      return redacting((guarded) =>
        new Download({ ...guarded, reference, sources, descriptor, options: asked, retry }).into(destinationPath),
      );
    },
    close: () => connections.close(),
  };
}

function defaultUserAgent(): string {
  return `bhatti/${process.env.BHATTI_VERSION ?? 'dev'} (images)`;
}
