import { createPrivateKey, X509Certificate } from 'node:crypto';
import { hostAndPort, placesOf, registryHost } from '../connection/host.ts';
import { OciError } from '../error.ts';
import { parseReference, type Reference } from '../image/reference.ts';

/** With which a registry is shown who asks, as PEM. */
export interface ClientCertificate {
  /** With those between it and the authority, if there are any. */
  readonly cert: string;
  readonly key: string;
}

/** How one registry is reached. */
export interface RegistrySettings {
  /** Accept plain HTTP or an untrusted certificate, as Docker's `insecure-registries` does. */
  readonly insecure?: boolean;
  /** PEM certificates trusted for this host, in addition to those trusted for all. */
  readonly certificateAuthorities?: readonly string[];
  /** Shown to this host, if it demands one, and to no other. */
  readonly clientCertificate?: ClientCertificate;
  /**
   * Tried first, in this order; the registry itself is tried last. `host[:port]` or `host[:port]/prefix`, the prefix being put before
   * the repository. A mirror's own settings are those of its own host.
   */
  readonly mirrors?: readonly string[];
}

export interface AllRegistrySettings {
  /** By `host[:port]`, as written in references. */
  readonly registries?: Readonly<Record<string, RegistrySettings>>;
  /** Shorthand for hosts whose only setting is `insecure`. */
  readonly insecureRegistries?: readonly string[];
  /** PEM certificates trusted for every host, in addition to the usual ones. */
  readonly certificateAuthorities?: readonly string[];
}

/** An operator's settings for registries, validated, and looked up by `host[:port]` as in references (or by the `hostAndPort` of a URL). */
export class RegistryConfiguration {
  readonly #byHost = new Map<string, RegistrySettings>();
  readonly #certificateAuthorities: readonly string[];

  /** @throws OciError `invalid_request` for a malformed certificate or key, `invalid_reference` for a malformed mirror */
  constructor({ registries = {}, insecureRegistries = [], certificateAuthorities = [] }: AllRegistrySettings) {
    for (const host of insecureRegistries) this.#set(host, { insecure: true });
    for (const [host, settings] of Object.entries(registries)) {
      this.#set(host, settings);
      for (const pem of settings.certificateAuthorities ?? []) assertCertificate(pem, ` of ${host}`);
      assertClientCertificate(settings.clientCertificate, host);
      for (const mirror of settings.mirrors ?? []) mirrorReference(mirror, { domain: host, path: 'image' });
    }
    for (const pem of certificateAuthorities) assertCertificate(pem, '');
    this.#certificateAuthorities = certificateAuthorities;
  }

  isInsecure(host: string): boolean {
    return this.#of(host)?.insecure ?? false;
  }

  /** Whether connections to this host need TLS settings of their own. */
  hasOwnTls(host: string): boolean {
    const { certificateAuthorities, clientCertificate } = this.#of(host) ?? {};
    return this.isInsecure(host) || certificateAuthorities !== undefined || clientCertificate !== undefined;
  }

  clientCertificate(host: string): ClientCertificate | undefined {
    return this.#of(host)?.clientCertificate;
  }

  certificateAuthorities(host: string): readonly string[] {
    return [...this.#certificateAuthorities, ...(this.#of(host)?.certificateAuthorities ?? [])];
  }

  /** The image's reference at each mirror of its registry, in the order in which they are tried. */
  mirrors(reference: Reference): Reference[] {
    const mirrors = this.#of(reference.domain)?.mirrors ?? [];
    return mirrors.map((mirror) => mirrorReference(mirror, reference));
  }

  #set(host: string, settings: RegistrySettings): void {
    for (const place of placesOf(hostKey(host))) this.#byHost.set(place, { ...this.#byHost.get(place), ...settings });
  }

  #of(host: string): RegistrySettings | undefined {
    return this.#byHost.get(hostAndPort({ host: hostKey(host) }));
  }
}

/** Docker Hub is configured by the domain of its references, but is reached at another host. */
function hostKey(host: string): string {
  return registryHost({ domain: host.toLowerCase() });
}

function mirrorReference(mirror: string, { path, tag, digest }: Reference): Reference {
  // People write hosts with a trailing slash. The check below rejects a first part that is not a host (no dot, no port).
  const base = mirror.replace(/\/+$/, '');
  const parsed = parseReference(`${base}/${path}`);
  if (base.split('/')[0]?.toLowerCase() !== parsed.domain.toLowerCase()) {
    throw new OciError(
      'invalid_reference',
      `${JSON.stringify(mirror)} is not a mirror: write it as host[:port] or host[:port]/prefix`,
    );
  }
  return { domain: parsed.domain, path: parsed.path, tag, digest };
}

function assertCertificate(pem: string, whose: string): void {
  try {
    new X509Certificate(pem);
  } catch (cause) {
    throw new OciError('invalid_request', `a configured CA certificate${whose} is not a PEM certificate`, { cause });
  }
}

function assertClientCertificate(pair: ClientCertificate | undefined, host: string): void {
  if (pair === undefined) return;
  try {
    if (new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key))) return;
  } catch (cause) {
    throw notAPair(host, cause);
  }
  throw notAPair(host);
}

function notAPair(host: string, cause?: unknown): OciError {
  return new OciError(
    'invalid_request',
    `the client certificate of ${host} is not a PEM certificate with its key, which must not need a passphrase`,
    { cause },
  );
}
