import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { type Answer, refusal } from './answer.ts';
import type { Fault } from './fault.ts';
import { zstdFrame } from './zstd-frame.ts';

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

export interface LayerSource {
  /** The uncompressed tar. */
  readonly tar: Buffer;
  /** Default gzip. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
}

export interface ImageSource {
  /** `library/alpine`. */
  readonly repository: string;
  readonly tag?: string;
  readonly layers: readonly LayerSource[];
  /** The `config` section of the image config: `{ Env: […], Cmd: […] }`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Default: this machine's. */
  readonly platform?: { readonly os?: string; readonly architecture: string; readonly variant?: string };
}

export interface PushedImage {
  /** Digest of the manifest. */
  readonly digest: string;
  /** Descriptor of the manifest, with its platform, as an index lists it. */
  readonly descriptor: Descriptor & { readonly platform: { os: string; architecture: string; variant?: string } };
  readonly manifest: { readonly config: Descriptor; readonly layers: readonly Descriptor[] };
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly string[];
  /** `127.0.0.1:PORT/library/alpine:tag`. */
  readonly reference: string;
}

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPES = {
  gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  none: 'application/vnd.oci.image.layer.v1.tar',
} as const;

export function sha256(bytes: Buffer | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Architecture of this machine in Go's terms, which images use. */
export function hostArchitecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

/** The blobs and manifests of a registry. Blobs belong to every repository. */
export class RegistryContent {
  readonly #blobs = new Map<string, Buffer>();
  /** By `repository@digest` and `repository:tag`. */
  readonly #manifests = new Map<string, { readonly bytes: Buffer; readonly mediaType: string }>();

  clear(): void {
    this.#blobs.clear();
    this.#manifests.clear();
  }

  blob(digest: string): Buffer | undefined {
    return this.#blobs.get(digest);
  }

  putBlob(bytes: Buffer, mediaType = 'application/octet-stream'): Descriptor {
    const digest = sha256(bytes);
    this.#blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  putManifest(repository: string, tag: string | undefined, content: object | Buffer, mediaType?: string): string {
    const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
    const own = 'mediaType' in content && typeof content.mediaType === 'string' ? content.mediaType : OCI_MANIFEST;
    const stored = { bytes, mediaType: mediaType ?? own };
    const digest = sha256(bytes);
    this.#manifests.set(`${repository}@${digest}`, stored);
    if (tag !== undefined) this.#manifests.set(`${repository}:${tag}`, stored);
    return digest;
  }

  putImage({ repository, tag = 'latest', layers, config = {}, platform }: ImageSource): Omit<PushedImage, 'reference'> {
    const descriptors = layers.map(({ tar, compression = 'gzip' }) =>
      this.putBlob(compress(tar, compression), LAYER_TYPES[compression]),
    );
    const diffIds = layers.map(({ tar }) => sha256(tar));
    const full = { os: 'linux', architecture: hostArchitecture(), ...platform };
    const document = {
      created: '2024-01-01T00:00:00Z',
      ...full,
      config,
      rootfs: { type: 'layers', diff_ids: diffIds },
    };
    const manifest = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: this.putBlob(Buffer.from(JSON.stringify(document)), OCI_CONFIG),
      layers: descriptors,
    };
    const digest = this.putManifest(repository, tag, manifest);
    const size = Buffer.byteLength(JSON.stringify(manifest));
    const descriptor = { mediaType: OCI_MANIFEST, digest, size, platform: full };
    return { digest, descriptor, manifest, layers: descriptors, diffIds };
  }

  /** @param name a tag or a digest */
  manifestAnswer(repository: string, name: string): Answer {
    const stored = this.#manifests.get(name.includes(':') ? `${repository}@${name}` : `${repository}:${name}`);
    if (stored === undefined) return refusal(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    const headers = { 'content-type': stored.mediaType, 'docker-content-digest': sha256(stored.bytes) };
    return { status: 200, headers, body: stored.bytes };
  }

  blobAnswer(
    digest: string,
    { range, ifRange }: { readonly range: string | undefined; readonly ifRange: string | undefined },
    fault: Fault,
  ): Answer {
    const whole = this.#blobs.get(digest);
    if (whole === undefined) return refusal(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
    const bytes = fault.corruptAt === undefined ? whole : corrupted(whole, fault.corruptAt);
    const etag = `"${digest}"`;
    const headers = { 'content-type': 'application/octet-stream', 'docker-content-digest': digest, etag };
    const isChanged = ifRange !== undefined && ifRange !== etag;
    const first = /^bytes=([0-9]+)-$/.exec(range ?? '')?.[1];
    if (first === undefined || fault.ignoreRange || isChanged) return { status: 200, headers, body: bytes };
    const start = Number(first) + (fault.shiftRange ?? 0);
    if (start >= bytes.length) {
      return {
        ...refusal(416, 'RANGE_INVALID', 'invalid range'),
        headers: { 'content-range': `bytes */${bytes.length}` },
      };
    }
    const part = { ...headers, 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
    return { status: 206, headers: part, body: bytes.subarray(start) };
  }
}

function corrupted(bytes: Buffer, offset: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(offset) ^ 0xff, offset);
  return copy;
}

function compress(tar: Buffer, compression: 'gzip' | 'zstd' | 'none'): Buffer {
  if (compression === 'none') return tar;
  return compression === 'gzip' ? gzipSync(tar, { level: 1 }) : zstdFrame(tar);
}
