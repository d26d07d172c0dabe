import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { hostArchitecture, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, sha256 } from './registry.ts';

/** An image to be written to an archive. */
export interface ArchiveImage {
  /** `alpine:3.20` */
  readonly tags: readonly string[];
  /** Uncompressed layers. */
  readonly tars: readonly Buffer[];
  readonly config?: Readonly<Record<string, unknown>>;
}

/** `docker-old`: `docker save` until 25; `docker`: since then, both layouts in one; `oci`: as `skopeo copy oci-archive:`, gzip layers. */
export type ArchiveLayout = 'docker-old' | 'docker' | 'oci';

type Files = Record<string, Buffer>;

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const blobName = (bytes: Buffer): string => `blobs/${sha256(bytes).replace(':', '/')}`;

/** A tar of the images. */
export async function imageArchive(layout: ArchiveLayout, images: readonly ArchiveImage[]): Promise<Buffer> {
  const files = layout === 'docker-old' ? oldDockerFiles(images) : layoutFiles(layout, images);
  const tar = pack();
  for (const [name, content] of Object.entries(files)) tar.entry({ name }, content);
  tar.finalize();
  return buffer(tar);
}

function configOf({ tars, config }: ArchiveImage): Buffer {
  return json({
    os: 'linux',
    architecture: hostArchitecture(),
    config: config ?? {},
    rootfs: { type: 'layers', diff_ids: tars.map(sha256) },
  });
}

function oldDockerFiles(images: readonly ArchiveImage[]): Files {
  const files: Files = {};
  const manifest = images.map((image) => {
    const config = configOf(image);
    const name = `${sha256(config).slice(7)}.json`;
    files[name] = config;
    const layers = image.tars.map((tar) => {
      const layer = `${sha256(tar).slice(7)}/layer.tar`;
      files[layer] = tar;
      return layer;
    });
    return { Config: name, RepoTags: image.tags, Layers: layers };
  });
  return { ...files, 'manifest.json': json(manifest) };
}

function layoutFiles(layout: 'docker' | 'oci', images: readonly ArchiveImage[]): Files {
  const files: Files = { 'oci-layout': json({ imageLayoutVersion: '1.0.0' }) };
  const put = (bytes: Buffer, mediaType: string) => {
    files[blobName(bytes)] = bytes;
    return { mediaType, digest: sha256(bytes), size: bytes.length };
  };
  const layerType = 'application/vnd.oci.image.layer.v1.tar';
  const docker: object[] = [];
  const manifests = images.flatMap((image) => {
    const config = configOf(image);
    const layers = image.tars.map((tar) =>
      layout === 'oci' ? put(gzipSync(tar), `${layerType}+gzip`) : put(tar, layerType),
    );
    const entry = put(
      json({ schemaVersion: 2, mediaType: OCI_MANIFEST, config: put(config, OCI_CONFIG), layers }),
      OCI_MANIFEST,
    );
    docker.push({ Config: blobName(config), RepoTags: image.tags, Layers: image.tars.map(blobName) });
    return image.tags.map((tag) => ({ ...entry, annotations: annotations(layout, tag) }));
  });
  files['index.json'] = json({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  return layout === 'docker' ? { ...files, 'manifest.json': json(docker) } : files;
}

function annotations(layout: 'docker' | 'oci', tag: string): Record<string, string> {
  const version = tag.slice(tag.indexOf(':') + 1);
  return layout === 'oci'
    ? { 'org.opencontainers.image.ref.name': version }
    : { 'io.containerd.image.name': `docker.io/library/${tag}`, 'org.opencontainers.image.ref.name': version };
}
