const maximumLength = 63;
const pattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$/;

/** The parts of an image reference that its name comes from. */
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
 * The name that a pull gives its image when the user gives none: last path component and tag (`python-3.12`), the first
 * 12 hex digits where there is only a digest, `latest` where there is neither. The tag keeps its case. Always a valid
 * name: longer ones are cut to 63 characters, characters that a name may not have become `-`.
 */
export function deriveImageName(reference: NamedReference): string {
  const repository = reference.path.slice(reference.path.lastIndexOf('/') + 1);
  const version = reference.tag ?? shortDigest(reference.digest) ?? 'latest';
  const name = `${repository}-${version}`.replace(/[^a-zA-Z0-9._-]/g, '-').replace(/^[^a-zA-Z0-9]+/, '');
  return name.slice(0, maximumLength) || 'image';
}

function shortDigest(digest: string | undefined): string | undefined {
  return digest?.slice(digest.indexOf(':') + 1).slice(0, 12);
}
