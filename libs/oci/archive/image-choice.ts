import { familiarReference, formatReference, parseReference } from '../image/reference.ts';

export interface NamedImage {
  /** See `ArchivedImage`. */
  readonly names: readonly string[];
  /** Left out, it is not found by its digest. */
  readonly entry?: { readonly digest: string };
}

/** The images of an archive with this full name; else those with this digest, a name that ends so, or this tag; none if there are none. */
export function imagesCalled<Image extends NamedImage>(images: readonly Image[], name: string): readonly Image[] {
  for (const isCalled of [isFullName, isDigestOf, isShortName, isTag]) {
    const found = images.filter((image) => isCalled(image, name));
    if (found.length > 0) return found;
  }
  return [];
}

/** Compares names in canonical form: `alpine:3.20` is short for `docker.io/library/alpine:3.20`. */
function isFullName({ names }: NamedImage, wanted: string): boolean {
  const canonical = canonicalName(wanted);
  return names.some((each) => each === wanted || canonicalName(each) === canonical);
}

/** `sha256:…`, alone or after a name. */
function isDigestOf({ entry }: NamedImage, wanted: string): boolean {
  return wanted.slice(wanted.lastIndexOf('@') + 1) === entry?.digest;
}

/** A name without a registry is short for any that ends so: Podman saves what it built as `app` as `localhost/app:latest`. */
function isShortName({ names }: NamedImage, wanted: string): boolean {
  const short = shortName(wanted);
  return short !== undefined && names.some((each) => canonicalName(each).endsWith(`/${short}`));
}

/** A tag alone, or where the archive has no more than tags, as many OCI layouts, the tag of a name. */
function isTag({ names }: NamedImage, wanted: string): boolean {
  if (names.some((each) => tagOf(each) === wanted)) return true;
  return !names.some((each) => /[:/]/.test(each)) && names.some((each) => each === tagOf(wanted));
}

/** With its tag; undefined for one that states its registry, or Docker's `library`, and for what is no name. */
function shortName(wanted: string): string | undefined {
  if (/^(?:(?:index\.)?docker\.io|library)\//.test(wanted)) return undefined;
  try {
    const reference = parseReference(wanted);
    return reference.domain === 'docker.io' ? familiarReference(reference) : undefined;
  } catch {
    return undefined;
  }
}

function canonicalName(name: string): string {
  try {
    return formatReference(parseReference(name));
  } catch {
    return name;
  }
}

function tagOf(name: string): string | undefined {
  return /:([A-Za-z0-9_][A-Za-z0-9_.-]*)$/.exec(name)?.[1];
}
