import { isIPv4 } from 'node:net';
import type { Reference } from './reference.ts';

const HAS_PORT = /:[0-9]+$/;

/** `host[:port]` that serves the API of a domain: Docker Hub's images are named for docker.io and served elsewhere. */
export function registryHost({ domain }: Pick<Reference, 'domain'>): string {
  return domain === 'docker.io' ? 'registry-1.docker.io' : domain;
}

/** `host:port` in lower case. A URL leaves out the port that its scheme has by default, and so may a reference, whose scheme is HTTPS. */
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

/** Where a setting for `host[:port]` holds: without a port, at both that a registry has by default. */
export function placesOf(host: string): string[] {
  return ['https:', 'http:'].map((protocol) => hostAndPort({ host, protocol }));
}

/** Whether `host[:port]` or a URL's hostname is this machine, by its name alone: nothing is resolved. */
export function isLoopbackHost(host: string): boolean {
  const name = hostName(host);
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return isIPv4(name) ? name.startsWith('127.') : name === '::1';
}

/** Whether a secret may travel to this URL: encrypted, or without leaving the machine. */
export function mayCarrySecret(url: URL): boolean {
  return url.protocol === 'https:' || isLoopbackHost(url.host);
}

/** Name or address alone, in lower case, without port and brackets. */
export function hostName(host: string): string {
  const bracketed = /^\[(.*)\](?::[0-9]+)?$/.exec(host)?.[1];
  return (bracketed ?? host.replace(/:[0-9]+$/, '')).toLowerCase();
}
