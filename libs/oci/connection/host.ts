import { isIPv4 } from 'node:net';
import type { Reference } from '../image/reference.ts';

const HAS_PORT = /:[0-9]+$/;

/** `host[:port]` that serves a domain's API: Docker Hub's images are named after docker.io, which does not serve them. */
export function registryHost({ domain }: Pick<Reference, 'domain'>): string {
  return domain === 'docker.io' ? 'registry-1.docker.io' : domain;
}

/** `host:port` in lower case, with the scheme's default port where none is given. A reference's scheme is HTTPS. */
export function hostAndPort({
  host,
  protocol = 'https:',
}: {
  readonly host: string;
  readonly protocol?: string;
}): string {
  const stated = host.toLowerCase();
  return HAS_PORT.test(stated) ? stated : `${stated}:${protocol === 'http:' ? 80 : 443}`;
}

/** The `host:port`s that a setting for `host[:port]` applies to: without a port, those of HTTPS and HTTP. */
export function placesOf(host: string): string[] {
  return ['https:', 'http:'].map((protocol) => hostAndPort({ host, protocol }));
}

/** Whether `host[:port]` or a URL's hostname means this machine, judged by the text alone: nothing is resolved. */
export function isLoopbackHost(host: string): boolean {
  const name = hostName(host);
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return isIPv4(name) ? name.startsWith('127.') : name === '::1';
}

/** Whether a secret may be sent to this URL: it is encrypted on the way, or does not leave the machine. */
export function mayCarrySecret(url: URL): boolean {
  return url.protocol === 'https:' || isLoopbackHost(url.host);
}

/** The name or address of `host[:port]` in lower case, without port and brackets. */
export function hostName(host: string): string {
  const bracketed = /^\[(.*)\](?::[0-9]+)?$/.exec(host)?.[1];
  return (bracketed ?? host.replace(HAS_PORT, '')).toLowerCase();
}
