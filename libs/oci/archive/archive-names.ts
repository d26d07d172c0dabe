import { dirname } from 'node:path';
import { OciError } from '../error.ts';
import { openContainer, sniffFile } from './container.ts';
import { DEFAULT_ARCHIVE_LIMITS } from './decompress.ts';
import { readDockerImageList } from './docker-archive.ts';
import { readOciLayout } from './oci-layout.ts';

/**
 * What the images of an archive are called, of each all its names (none, a tag alone, or full ones), without a look at configs and layers:
 * of a tar its headers and one document are read. Not of a compressed archive, which would have to be unpacked for it.
 *
 * @param label what errors call the archive
 * @throws OciError `invalid_request` (not there, compressed, or something else), `layer_corrupt` (no tar, or cut short), `invalid_manifest`
 */
export async function readArchiveNames(path: string, label: string): Promise<readonly (readonly string[])[]> {
  if ((await sniffFile(path, label)) !== 'none') {
    throw new OciError('invalid_request', `${label} is compressed: what its images are called cannot be read of it`);
  }
  // The scratch folder is for compressed ones.
  const source = { path, label, scratchDirectory: dirname(path), limits: DEFAULT_ARCHIVE_LIMITS, signal: undefined };
  const container = await openContainer(source);
  try {
    const layout = await readOciLayout(container, label);
    if (layout !== undefined) return namesByDigest(layout.images);
    const list = await readDockerImageList(container, label);
    if (list !== undefined) return list.map(({ RepoTags }) => RepoTags ?? []);
  } finally {
    await container.close();
  }
  throw noArchive(label);
}

/** What holds neither of the lists of images that archives have. */
export function noArchive(label: string): OciError {
  return new OciError(
    'invalid_request',
    `${label} is no image archive: it has neither an index.json (OCI) nor a manifest.json (docker save)`,
  );
}

/** A layout has an entry for each name of an image. */
function namesByDigest(
  images: readonly { readonly names: readonly string[]; readonly entry: { readonly digest: string } }[],
): string[][] {
  const byDigest = new Map<string, string[]>();
  for (const { names, entry } of images) {
    const known = byDigest.get(entry.digest);
    if (known === undefined) byDigest.set(entry.digest, [...names]);
    else known.push(...names);
  }
  return [...byDigest.values()];
}
