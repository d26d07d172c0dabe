import { open } from 'node:fs/promises';
import { OciError } from '../error.ts';
import type { ResponseHead } from '../exchange.ts';
import type { HttpAnswer } from '../http.ts';
import { MANIFEST_SIZE_LIMIT } from '../manifest.ts';
import { mediaTypes } from '../media-type.ts';
import { cancelledError, errorCode } from '../network-error.ts';
import type { Platform } from '../platform.ts';
import { formatReference, parseReference } from '../reference.ts';
import type { RegistryApi, RegistryRequest } from '../registry-api.ts';
import { type ResolvedImage, Resolver } from '../resolver.ts';
import { type Container, type Member, openContainer } from './container.ts';
import { type ArchiveContent, type ArchivedImage, readMember } from './content.ts';
import { readDockerArchive } from './docker-archive.ts';
import { readOciLayout } from './oci-layout.ts';

export interface OpenArchiveOptions {
  /** Folder for the unpacked copy of a compressed archive, which is removed by `close`. */
  readonly scratchDirectory: string;
  readonly signal?: AbortSignal;
}

export interface ArchiveSelection {
  /** `alpine:3.20`, a full name, or a tag alone; needed where an archive holds several images. */
  readonly name?: string;
  /** As for a pull. */
  readonly platform?: Platform;
  readonly signal?: AbortSignal;
}

/** An image of an archive, as one of a registry is. `reference` stands for a name that a registry would know, and an archive may lack. */
export interface ResolvedArchiveImage extends Omit<ResolvedImage, 'reference'> {
  /** As the tool that made the archive wrote them. */
  readonly names: readonly string[];
}

export interface ImageArchive {
  /** Names of all images; an image without one has an empty list. */
  readonly images: readonly { readonly names: readonly string[] }[];
  /**
   * The image of that name for the platform: manifest and config are checked against their digests. Layers are not; who decodes them does that.
   *
   * @throws OciError `manifest_unknown` (no such name), `invalid_request` (several, and no name), and as `RegistryClient.resolve`
   */
  resolve(selection?: ArchiveSelection): Promise<ResolvedArchiveImage>;
  /** Copies a layer to a file, in place of what is there. */
  extract(digest: string, destinationPath: string, options?: ExtractOptions): Promise<void>;
  close(): Promise<void>;
}

export interface ExtractOptions {
  readonly signal?: AbortSignal;
  /** Called with the bytes in the file at the start and each time some are added. */
  readonly onBytes?: (totalBytesInFile: number) => void;
}

/** Stands in for the place that images of registries have; never shown. */
const PLACE = parseReference('archive.invalid/image');

/**
 * Opens what `docker save` (old and new layout), `podman save`, `skopeo copy docker-archive:` and `oci-archive:` write, and OCI image
 * layouts as a folder or a tar; tars plain or compressed with gzip or zstd. Nothing is unpacked to paths that the archive names.
 *
 * @throws OciError `invalid_request` (not there, or something else), `layer_corrupt` (cut short), `invalid_manifest`, `no_space`, `cancelled`
 */
export async function openArchive(
  path: string,
  { scratchDirectory, signal }: OpenArchiveOptions,
): Promise<ImageArchive> {
  const container = await openContainer(path, scratchDirectory, signal);
  try {
    return new Archive(path, container, await readContent(container, path));
  } catch (error) {
    await container.close();
    throw error;
  }
}

/** Docker since 25 writes both layouts in one; the OCI one knows the digests. */
async function readContent(container: Container, path: string): Promise<ArchiveContent> {
  const content = (await readOciLayout(container, path)) ?? (await readDockerArchive(container, path));
  if (content !== undefined) return content;
  throw new OciError(
    'invalid_request',
    `${path} is no image archive: it has neither an index.json (OCI) nor a manifest.json (docker save)`,
  );
}

class Archive implements ImageArchive {
  readonly #path: string;
  readonly #container: Container;
  readonly #content: ArchiveContent;

  constructor(path: string, container: Container, content: ArchiveContent) {
    this.#path = path;
    this.#container = container;
    this.#content = content;
  }

  get images(): readonly ArchivedImage[] {
    return this.#content.images;
  }

  async resolve({ name, platform, signal }: ArchiveSelection = {}): Promise<ResolvedArchiveImage> {
    const chosen = this.#choose(name);
    const [first] = chosen;
    if (first === undefined) throw new OciError('invalid_manifest', `the archive ${this.#path} holds no image`);
    const target = chosen.length === 1 ? undefined : indexOf(chosen);
    const api: Pick<RegistryApi, 'get'> = { get: (request) => this.#get(request, target) };
    const digest = target === undefined ? first.entry.digest : undefined;
    const label = first.names[0] ?? this.#path;
    const resolver = new Resolver(api, { ...PLACE, digest }, { platform, signal }, undefined, label);
    const { reference: _, ...image } = await resolver.image();
    return { ...image, names: [...new Set(chosen.flatMap(({ names }) => names))] };
  }

  /** Several entries without names are the platforms of one image. */
  #choose(name: string | undefined): readonly ArchivedImage[] {
    const { images } = this.#content;
    const known = [...new Set(images.flatMap(({ names }) => names.slice(0, 1)))].sort();
    if (name !== undefined) {
      const chosen = images.filter(({ names }) => names.some((each) => isSameName(each, name)));
      if (chosen.length > 0) return chosen;
      const list = known.length === 0 ? 'its images have no names' : `it holds ${known.join(', ')}`;
      throw new OciError('manifest_unknown', `the archive ${this.#path} holds no image called ${name}; ${list}`);
    }
    if (new Set(images.map(({ names }) => [...names].sort().join(' '))).size <= 1) return images;
    // One image under several names is still one.
    if (new Set(images.map(({ entry }) => entry.digest)).size === 1) return images.slice(0, 1);
    throw new OciError(
      'invalid_request',
      `the archive ${this.#path} holds several images; choose one: ${known.join(', ')}`,
    );
  }

  async #get({ path, signal, receive }: RegistryRequest, target: Buffer | undefined): Promise<HttpAnswer> {
    if (signal?.aborted) throw cancelledError(signal);
    const [, kind, name = ''] = /^(manifests|blobs)\/(.*)$/.exec(path) ?? [];
    const isTarget = kind === 'manifests' && !name.includes(':');
    const found = isTarget ? target : await this.#content.blob(name);
    if (found === undefined) throw this.#missing(name);
    const bytes = Buffer.isBuffer(found) ? found : await readMember(found, MANIFEST_SIZE_LIMIT);
    const head: ResponseHead = { status: 200, headers: new Map() };
    receive(head)(bytes, { pause: () => undefined, resume: () => undefined });
    return { head, url: new URL('file:///'), hasLeftHost: false, errorBody: Buffer.alloc(0) };
  }

  async extract(digest: string, destinationPath: string, { signal, onBytes }: ExtractOptions = {}): Promise<void> {
    const found = await this.#content.blob(digest);
    if (found === undefined || Buffer.isBuffer(found)) throw this.#missing(digest);
    try {
      await copyMember(found, destinationPath, signal, onBytes ?? (() => undefined));
    } catch (cause) {
      if (signal?.aborted) throw cancelledError(signal);
      const code = errorCode(cause);
      if (code === 'ENOSPC' || code === 'EDQUOT')
        throw new OciError('no_space', 'no space left in the data directory', { cause });
      throw new OciError('internal', `cannot copy a layer out of ${this.#path} (${code || String(cause)})`, { cause });
    }
  }

  async close(): Promise<void> {
    await this.#container.close();
  }

  #missing(digest: string): OciError {
    return new OciError(
      'invalid_manifest',
      `the archive ${this.#path} does not hold ${digest}, which it names; it may hold other platforms only, or be cut short`,
    );
  }
}

function indexOf(images: readonly ArchivedImage[]): Buffer {
  const manifests = images.map(({ entry }) => entry);
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }));
}

/** `alpine:3.20` is what `docker.io/library/alpine:3.20` is called in short; OCI layouts often know the tag alone. */
function isSameName(archived: string, wanted: string): boolean {
  return (
    archived === wanted ||
    canonicalName(archived) === canonicalName(wanted) ||
    archived === tagOf(wanted) ||
    tagOf(archived) === wanted
  );
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

const COPY_BYTES = 1024 * 1024;

async function copyMember(
  { file, offset, size }: Member,
  path: string,
  signal: AbortSignal | undefined,
  onBytes: (total: number) => void,
): Promise<void> {
  const output = await open(path, 'w', 0o600);
  try {
    onBytes(0);
    const buffer = Buffer.allocUnsafe(Math.min(size, COPY_BYTES));
    for (let done = 0; done < size; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - done), offset + done);
      if (bytesRead === 0) throw new Error('the archive has become shorter');
      await output.writeFile(buffer.subarray(0, bytesRead));
      done += bytesRead;
      onBytes(done);
    }
  } finally {
    await output.close();
  }
}
