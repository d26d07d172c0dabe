import { X509Certificate } from 'node:crypto';
import { OciError } from './error.ts';
import { hostAndPort, placesOf, registryHost } from './host.ts';
import { parseReference, type Reference } from './reference.ts';

/** How one registry is reached. */
export interface RegistrySettings {
  /** Plain HTTP, or a certificate that nobody vouches for, will do; as Docker's `insecure-registries`. */
  readonly insecure?: boolean;
  /** PEM certificates that are trusted for this host, beside those trusted for all. */
  readonly certificateAuthorities?: readonly string[];
  /**
   * Asked first, in this order; the registry itself is asked when none of them can serve. `host[:port]` or `host[:port]/prefix`, where
   * the prefix stands before the repository. How a mirror is reached is stated under its own host.
   */
  readonly mirrors?: readonly string[];
}

export interface AllRegistrySettings {
  /** By `host[:port]`, as it stands in references. */
  readonly registries?: Readonly<Record<string, RegistrySettings>>;
  /** Hosts that are insecure and have no other settings. */
  readonly insecureRegistries?: readonly string[];
  /** PEM certificates that are trusted for every host beside the usual ones. */
  readonly certificateAuthorities?: readonly string[];
}

/** What an operator has stated about registries, checked and looked up by `host[:port]`, as in references (or `hostAndPort` of a URL). */
export class RegistryConfiguration {
  readonly #byHost = new Map<string, RegistrySettings>();
  readonly #certificateAuthorities: readonly string[];

  /** @throws OciError `invalid_request` for what is no certificate, `invalid_reference` for what is no mirror */
  constructor({ registries = {}, insecureRegistries = [], certificateAuthorities = [] }: AllRegistrySettings) {
    for (const host of insecureRegistries) this.#set(host, { insecure: true });
    for (const [host, settings] of Object.entries(registries)) {
      this.#set(host, settings);
      for (const pem of settings.certificateAuthorities ?? []) assertCertificate(pem, ` of ${host}`);
      for (const mirror of settings.mirrors ?? []) mirrorReference(mirror, { domain: host, path: 'image' });
    }
    for (const pem of certificateAuthorities) assertCertificate(pem, '');
    this.#certificateAuthorities = certificateAuthorities;
  }

  isInsecure(host: string): boolean {
    return this.#of(host)?.insecure ?? false;
  }

  /** Whether connections to this host differ from those to any other. */
  hasOwnTrust(host: string): boolean {
    return this.isInsecure(host) || this.#of(host)?.certificateAuthorities !== undefined;
  }

  certificateAuthorities(host: string): readonly string[] {
    return [...this.#certificateAuthorities, ...(this.#of(host)?.certificateAuthorities ?? [])];
  }

  /** What the image is called at each mirror of its registry. */
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

/** Docker Hub is configured by the name that its images have, and connected to by another. */
function hostKey(host: string): string {
  return registryHost({ domain: host.toLowerCase() });
}

function mirrorReference(mirror: string, { path, tag, digest }: Reference): Reference {
  // A trailing slash is how people write hosts; the dot or port that makes it one is asked for by the grammar.
  const base = mirror.replace(/\/+$/, '');
  const parsed = parseReference(`${base}/${path}`);
  if (base.split('/')[0]?.toLowerCase() !== parsed.domain.toLowerCase()) {
    throw new OciError(
      'invalid_reference',
      `${JSON.stringify(mirror)} is no mirror: write it as host[:port] or host[:port]/prefix`,
    );
  }
  return { domain: parsed.domain, path: parsed.path, tag, digest };
}

function assertCertificate(pem: string, whose: string): void {
  try {
    new X509Certificate(pem);
  } catch (cause) {
    throw new OciError('invalid_request', `a configured CA certificate${whose} is no PEM certificate`, { cause });
  }
}
