import { dirname } from 'node:path';
import { OciError } from '../error.ts';
import { openContainer, sniffFile } from './container.ts';
import { DEFAULT_ARCHIVE_LIMITS } from './decompress.ts';
import { readDockerImageList } from './docker-archive.ts';
import { readOciLayout } from './oci-layout.ts';

/**
 * The names of each image in an archive (none, a bare tag, or full names), without looking at configs and layers: of a tar, only the
 * headers and one document are read. Compressed archives are refused, since they would have to be unpacked.
 *
 * @param label what errors call the archive
 * @throws OciError `invalid_request` (missing, compressed, or not an archive), `layer_corrupt` (not a tar, or cut short), `invalid_manifest`
 */
export async function readArchiveNames(path: string, label: string): Promise<readonly (readonly string[])[]> {
  if ((await sniffFile(path, label)) !== 'none') {
    throw new OciError(
      'invalid_request',
      `${label} is compressed: the names of its images cannot be read without unpacking it`,
    );
  }
  // The scratch folder is only used for compressed archives.
  const source = { path, label, scratchDirectory: dirname(path), limits: DEFAULT_ARCHIVE_LIMITS, signal: undefined };
  const container = await openContainer(source);
  try {
    const layout = await readOciLayout(container, label);
    if (layout !== undefined) return namesByDigest(layout.images);
    const list = await readDockerImageList(container, label);
    if (list !== undefined) return list.map(({ RepoTags }) => RepoTags);
  } finally {
    await container.close();
  }
  throw noArchive(label);
}

/** The error for a tar or folder that has neither of the documents by which archives list their images. */
export function noArchive(label: string): OciError {
  return new OciError(
    'invalid_request',
    `${label} is not an image archive: it has neither an index.json (OCI) nor a manifest.json (docker save); of what docker export writes, docker import makes an image`,
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
