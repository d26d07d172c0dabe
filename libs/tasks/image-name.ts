import { createHash } from 'node:crypto';

const maximumLength = 63;
/** Hex digits of the checksum at the end of a shortened name. */
const checksumLength = 12;
const pattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$/;

/** The parts of a reference that the image's name is derived from. */
interface NamedReference {
  /** `library/python`, `myorg/sandbox-base` */
  readonly path: string;
  readonly tag?: string | undefined;
  /** `sha256:<hex>` */
  readonly digest?: string | undefined;
}

/** Whether an image may have the name. The name becomes a file name and part of a URL. */
export function isValidImageName(name: string): boolean {
  return pattern.test(name);
}

/**
 * The name of a pulled image when the user gives none: last path component and tag (`python-3.12`), the first 12 hex digits of
 * the digest where there is no tag, `latest` where there is neither. The tag keeps its case. Always a valid name: other characters
 * become `-`; a name that is too long is cut, and ends in a checksum of the whole. CI tags are long and differ at their end (branch,
 * then commit): if they were only cut, each pull would take over the name of the one before.
 */
export function deriveImageName(reference: NamedReference): string {
  const repository = reference.path.slice(reference.path.lastIndexOf('/') + 1);
  const version = reference.tag ?? shortDigest(reference.digest) ?? 'latest';
  const name = `${repository}-${version}`.replace(/[^a-zA-Z0-9._-]/g, '-').replace(/^[^a-zA-Z0-9]+/, '');
  if (name.length <= maximumLength) return name || 'image';
  const checksum = createHash('sha256').update(name).digest('hex').slice(0, checksumLength);
  return `${name.slice(0, maximumLength - checksumLength - 1)}-${checksum}`;
}

function shortDigest(digest: string | undefined): string | undefined {
  return digest?.slice(digest.indexOf(':') + 1).slice(0, 12);
}
