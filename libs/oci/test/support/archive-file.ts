/** Files of image archives, as the tools write them, and the tars of them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { hostArchitecture, OCI_CONFIG, OCI_MANIFEST, sha256 } from '../../../../test/support/registry.ts';

type Content = string | Buffer | object;
interface Link {
  readonly to: string;
  readonly type: 'link' | 'symlink';
}
export type Files = Readonly<Record<string, Content>>;

export const bytesOf = (content: Content): Buffer =>
  Buffer.isBuffer(content) ? content : Buffer.from(typeof content === 'string' ? content : JSON.stringify(content));

export async function tarOf(files: Files, links: Readonly<Record<string, Link>> = {}): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) {
    // Tar-stream writes a pax header where the name needs one.
    if (name.endsWith('/')) tar.entry({ name, type: 'directory' });
    else tar.entry({ name }, bytesOf(content));
  }
  for (const [name, { to, type }] of Object.entries(links)) tar.entry({ name, type, linkname: to });
  tar.finalize();
  return buffer(tar);
}

/** An entry of a tar by its header's fields, for what tar-stream does not write: at most 100 bytes of name, and of link. */
export function rawEntry(type: string, name: string, content: Buffer, size?: Buffer, link = ''): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  size?.copy(header, 124);
  header.write('        ', 148);
  header.write(type, 156);
  header.write(link, 157);
  header.write('ustar  ', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc(-content.length & 511)]);
}

export const configOf = (tars: readonly Buffer[], architecture = hostArchitecture()) => ({
  os: 'linux',
  architecture,
  config: { Cmd: ['/bin/sh'], Env: ['A=1'] },
  rootfs: { type: 'layers', diff_ids: tars.map(sha256) },
});

/** As `docker save` wrote until 25: a folder a layer. */
export function dockerSave(tags: readonly string[] | null, tars: readonly Buffer[], first = 0): Files {
  const config = bytesOf(configOf(tars));
  const name = `${sha256(config).slice(7)}.json`;
  const layers = tars.map((_, position) => `${String(first + position).repeat(64)}/layer.tar`);
  return {
    ...Object.fromEntries(layers.map((layer, position) => [layer, tars[position] ?? ''])),
    ...Object.fromEntries(layers.map((layer) => [`${dirname(layer)}/VERSION`, '1.0'])),
    [name]: config,
    'manifest.json': [{ Config: name, RepoTags: tags, Layers: layers }],
    repositories: {},
  };
}

export interface LayoutImage {
  readonly files: Files;
  readonly entry: { readonly mediaType: string; readonly digest: string; readonly size: number } & Record<
    string,
    unknown
  >;
  readonly blobs: readonly Buffer[];
}

export const blobName = (bytes: Buffer): string => `blobs/${sha256(bytes).replace(':', '/')}`;

export function layoutImage(
  architecture: string,
  tars: readonly Buffer[],
  compression: 'gzip' | 'none' = 'gzip',
): LayoutImage {
  const blobs = tars.map((tar) => (compression === 'gzip' ? gzipSync(tar) : tar));
  const config = bytesOf(configOf(tars, architecture));
  const manifest = bytesOf({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: sha256(config), size: config.length },
    layers: blobs.map((blob) => ({
      mediaType: `application/vnd.oci.image.layer.v1.tar${compression === 'gzip' ? '+gzip' : ''}`,
      digest: sha256(blob),
      size: blob.length,
    })),
  });
  return {
    blobs,
    files: Object.fromEntries([config, manifest, ...blobs].map((bytes) => [blobName(bytes), bytes])),
    entry: {
      mediaType: OCI_MANIFEST,
      digest: sha256(manifest),
      size: manifest.length,
      platform: { os: 'linux', architecture },
    },
  };
}

export const layout = (entries: readonly object[], ...files: Files[]): Files => ({
  'oci-layout': { imageLayoutVersion: '1.0.0' },
  'index.json': { schemaVersion: 2, manifests: entries },
  ...Object.assign({}, ...files),
});
export const named = (entry: object, name: string, key = 'org.opencontainers.image.ref.name'): object => ({
  ...entry,
  annotations: { [key]: name },
});

export async function writeFiles(directory: string, files: Files): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), bytesOf(content));
  }
}
