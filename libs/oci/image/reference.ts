import { isIPv6 } from 'node:net';
import { OciError } from '../error.ts';
import { digestProblem } from './digest.ts';

/**
 * Name of an image at a registry, as Docker normalises it.
 * Source: the grammar of distribution/reference (`regexp.go`) and its rules for familiar names (`normalize.go`).
 */
export interface Reference {
  /** `docker.io`, `ghcr.io`, `localhost:5000`, `[::1]:5000`. */
  readonly domain: string;
  /** Repository within the domain: `library/python`. */
  readonly path: string;
  readonly tag?: string;
  /** `sha256:<hex>`; takes precedence over the tag when both are given. */
  readonly digest?: string;
}

const DEFAULT_DOMAIN = 'docker.io';
const LEGACY_DEFAULT_DOMAIN = 'index.docker.io';
const OFFICIAL_PREFIX = 'library/';
const DEFAULT_TAG = 'latest';
const PATH_LENGTH_LIMIT = 255;
/** Well above a host (253) with a port, a path (255), a tag (128) and the longest digest (136). */
export const REFERENCE_LENGTH_LIMIT = 1024;

const DOMAIN_LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const DOMAIN = new RegExp(`^(?:${DOMAIN_LABEL}(?:\\.${DOMAIN_LABEL})*|\\[([a-fA-F0-9:]+)\\])(?::([0-9]+))?$`);
const PATH_COMPONENT = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const PATH = new RegExp(`^${PATH_COMPONENT}(?:/${PATH_COMPONENT})*$`);
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const IDENTIFIER = /^[a-f0-9]{64}$/;

/**
 * Reads a reference as Docker does: `python` is `docker.io/library/python:latest`; the tag defaults to `latest` when neither a
 * tag nor a digest is given.
 *
 * @throws OciError `invalid_reference`, with the reason
 */
export function parseReference(text: string): Reference {
  const fail = (reason: string): never => {
    throw new OciError('invalid_reference', `invalid reference ${quote(withoutCredentials(text))}: ${reason}`);
  };
  const surface = surfaceProblem(text);
  if (surface !== undefined) return fail(surface);

  const { domain, remainder } = splitDomain(text);
  const { path, tag, digest } = splitRemainder(remainder);
  const problem =
    domainProblem(domain) ??
    pathProblem(path) ??
    (tag === undefined ? undefined : tagProblem(tag)) ??
    (digest === undefined ? undefined : digestFault(digest));
  if (problem !== undefined) return fail(problem);
  if (digest !== undefined) return tag === undefined ? { domain, path, digest } : { domain, path, tag, digest };
  return { domain, path, tag: tag ?? DEFAULT_TAG };
}

/** The canonical form, with domain and full path: `docker.io/library/python:3.12`; the tag precedes the digest. */
export function formatReference(reference: Reference): string {
  return `${reference.domain}/${reference.path}${suffix(reference)}`;
}

/** The short form that people type (`python:3.12`), where it parses back to the same reference; otherwise the canonical form. */
export function familiarReference(reference: Reference): string {
  return `${familiarName(reference)}${suffix(reference)}`;
}

function suffix({ tag, digest }: Reference): string {
  return `${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

function familiarName({ domain, path }: Reference): string {
  const full = `${domain}/${path}`;
  if (domain !== DEFAULT_DOMAIN) return full;
  const isOfficial = path.startsWith(OFFICIAL_PREFIX) && !path.slice(OFFICIAL_PREFIX.length).includes('/');
  const short = isOfficial ? path.slice(OFFICIAL_PREFIX.length) : path;
  // `docker.io/foo.bar/baz` must keep its domain, or `foo.bar` would be taken for one; 64 hex digits would be taken for an image id.
  const back = splitDomain(short);
  return back.domain === domain && back.remainder === path && !IDENTIFIER.test(short) ? short : full;
}

function surfaceProblem(text: string): string | undefined {
  if (text === '') return 'it is empty; give a name such as python:3.12';
  if (text.length > REFERENCE_LENGTH_LIMIT) return `it is longer than ${REFERENCE_LENGTH_LIMIT} characters`;
  if (withoutCredentials(text) !== text) return 'it contains credentials; give them separately (--auth user:token)';
  if (/\s/.test(text)) return 'it contains a space or a line break';
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(text)) return 'leave out the scheme, as in ghcr.io/owner/image:tag';
  if (IDENTIFIER.test(text)) return '64 hexadecimal characters name an image id, not an image at a registry';
  return undefined;
}

/** Strips the secret from `user:token@host/path`, which people paste from a clone URL: it must not appear in a message. */
function withoutCredentials(text: string): string {
  return text.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)?[^/]*@([^/@]*\/)/, '$1$2');
}

function splitDomain(text: string): { domain: string; remainder: string } {
  const slash = text.indexOf('/');
  const first = text.slice(0, slash);
  // Without a slash there is no host: in `python:3.12` the colon starts a tag, not a port.
  const named = slash > 0 && (first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase());
  const domain = !named || first === LEGACY_DEFAULT_DOMAIN ? DEFAULT_DOMAIN : first;
  const remainder = named ? text.slice(slash + 1) : text;
  const isOfficial = domain === DEFAULT_DOMAIN && !remainder.includes('/');
  return { domain, remainder: isOfficial ? `${OFFICIAL_PREFIX}${remainder}` : remainder };
}

function splitRemainder(remainder: string): { path: string; tag?: string; digest?: string } {
  const at = remainder.indexOf('@');
  const named = at < 0 ? remainder : remainder.slice(0, at);
  const digest = at < 0 ? undefined : remainder.slice(at + 1);
  const colon = named.indexOf(':');
  return colon < 0 ? { path: named, digest } : { path: named.slice(0, colon), tag: named.slice(colon + 1), digest };
}

function domainProblem(domain: string): string | undefined {
  const match = DOMAIN.exec(domain);
  if (match === null) return `${quote(domain)} is not a registry host`;
  const [, address, port] = match;
  if (address !== undefined && !isIPv6(address)) return `[${address}] is not an IPv6 address`;
  if (port !== undefined && (Number(port) > 65_535 || Number(port) === 0)) return `${port} is not a port`;
  return undefined;
}

function pathProblem(path: string): string | undefined {
  if (path.length > PATH_LENGTH_LIMIT) return `the repository name is longer than ${PATH_LENGTH_LIMIT} characters`;
  if (PATH.test(path)) return undefined;
  if (path !== path.toLowerCase() && PATH.test(path.toLowerCase())) {
    return `repository name (${path}) must be lowercase; try ${path.toLowerCase()}`;
  }
  if (path === '' || path === OFFICIAL_PREFIX) return 'the repository name is missing';
  return `${quote(path)} is not a repository name: lower case letters and digits, separated by / . _ __ or -`;
}

function tagProblem(tag: string): string | undefined {
  if (TAG.test(tag)) return undefined;
  return `${quote(tag)} is not a tag: at most 128 letters, digits, _ . and -, not starting with . or -`;
}

function digestFault(digest: string): string | undefined {
  const problem = digestProblem(digest);
  return problem === undefined ? undefined : `${quote(digest)} is not a digest: ${problem}`;
}

/** Quoted for a message: control characters escaped, long texts cut. */
function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
