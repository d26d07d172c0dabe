/**
 * Whether the entries of a tar are those of an image as `docker save` or skopeo write it, not of a layer: a list of images, and the
 * blobs or layers that it lists. The output of `docker save` is the first tar that people have at hand.
 */
export function isImageArchive(entries: Iterable<{ readonly path: string }>): boolean {
  let [hasList, hasContent] = [false, false];
  for (const { path } of entries) {
    hasList ||= path === 'manifest.json' || path === 'index.json';
    hasContent ||=
      path === 'oci-layout' || /^blobs\/sha256\/[0-9a-f]{64}$|^[0-9a-f]{64}(?:\.json|\.tar|\/layer\.tar)$/.test(path);
    if (hasList && hasContent) return true;
  }
  return false;
}
