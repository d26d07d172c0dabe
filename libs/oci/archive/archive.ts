import { open } from 'node:fs/promises';
import { cancelledError } from '../cancellation.ts';
import type { ResponseHead } from '../connection/exchange.ts';
import { OciError } from '../error.ts';
import { digestProblem } from '../image/digest.ts';
import { type Descriptor, MANIFEST_SIZE_LIMIT } from '../image/manifest.ts';
import { mediaTypes } from '../image/media-type.ts';
import type { Platform } from '../image/platform.ts';
import { parseReference } from '../image/reference.ts';
import { counted, enumeration } from '../image/texts.ts';
import type { RegistryAnswer, RegistryApi, RegistryRequest } from '../registry/registry-api.ts';
import { type ResolvedImage, Resolver } from '../registry/resolver.ts';
import { fileError } from '../system-error.ts';
import { noArchive } from './archive-names.ts';
import { type Container, type Member, openContainer } from './container.ts';
import { type ArchiveContent, type ArchivedImage, readMember } from './content.ts';
import { type ArchiveLimits, DEFAULT_ARCHIVE_LIMITS } from './decompress.ts';
import { readDockerArchive } from './docker-archive.ts';
import { imagesCalled } from './image-choice.ts';
import { readOciLayout } from './oci-layout.ts';

export interface OpenArchiveOptions {
  /** Folder for the unpacked copy of a compressed archive, which `close` removes. */
  readonly scratchDirectory: string;
  /** What errors call the archive; by default, its path. */
  readonly label?: string;
  /** For a compressed archive; merged into `DEFAULT_ARCHIVE_LIMITS`. */
  readonly limits?: Partial<ArchiveLimits>;
  readonly signal?: AbortSignal;
}

export interface ArchiveSelection {
  /**
   * As `imagesCalled` takes it: `alpine:3.20`, a full name or the end of one, a digest or a bare tag; needed where an archive holds
   * several images.
   */
  readonly name?: string;
  /** As for a pull. */
  readonly platform?: Platform;
  readonly signal?: AbortSignal;
}

/** An image of an archive, described like one of a registry, except for the `reference`, which an image in an archive may lack. */
export interface ResolvedArchiveImage extends Omit<ResolvedImage, 'reference'> {
  /** As the tool that made the archive wrote them. */
  readonly names: readonly string[];
}

export interface ImageArchive {
  /** Names of all images; an image without one has an empty list. */
  readonly images: readonly { readonly names: readonly string[] }[];
  /**
   * The image of that name for the platform. Manifest and config are verified by their digests; layers are not: their decoder does that.
   *
   * @throws OciError `manifest_unknown` (no such name), `invalid_request` (several), `size_mismatch` (a layer), and as `RegistryClient.resolve`
   */
  resolve(selection?: ArchiveSelection): Promise<ResolvedArchiveImage>;
  /**
   * Copies a layer to a file, replacing what is there.
   *
   * @throws OciError `invalid_manifest` (no such layer), `no_space`, `internal`, `cancelled`
   */
  extract(digest: string, destinationPath: string, options?: ExtractOptions): Promise<void>;
  close(): Promise<void>;
}

export interface ExtractOptions {
  readonly signal?: AbortSignal;
  /** Called with the number of bytes in the file: at the start, and after each write. */
  readonly onBytes?: (totalBytesInFile: number) => void;
}

/** Stands in for the repository that an image in a registry has; never shown. */
const PLACE = parseReference('archive.invalid/image');

/**
 * Opens what `docker save` (old and new layout), `podman save`, and `skopeo copy` to `docker-archive:` or `oci-archive:` write, and OCI
 * image layouts as a folder or a tar; tars may be compressed with gzip or zstd. Nothing is unpacked to paths that the archive names.
 *
 * @throws OciError `invalid_request` (missing, or not an archive), `layer_corrupt` (cut short), `invalid_manifest`,
 * `archive_too_large`, `expansion_too_large`, `no_space`, `cancelled`
 */
export async function openArchive(
  path: string,
  { scratchDirectory, label = `the archive ${path}`, limits: asked, signal }: OpenArchiveOptions,
): Promise<ImageArchive> {
  const limits = { ...DEFAULT_ARCHIVE_LIMITS, ...asked };
  const container = await openContainer({ path, label, scratchDirectory, limits, signal });
  try {
    return new Archive(label, container, await readContent(container, label, signal));
  } catch (error) {
    await container.close();
    throw error;
  }
}

/** Docker from 25 on writes both layouts in one archive; the OCI one has the digests. */
async function readContent(
  container: Container,
  label: string,
  signal: AbortSignal | undefined,
): Promise<ArchiveContent> {
  const content = (await readOciLayout(container, label)) ?? (await readDockerArchive(container, label, signal));
  if (content !== undefined) return content;
  throw noArchive(label);
}

class Archive implements ImageArchive {
  readonly #label: string;
  readonly #container: Container;
  readonly #content: ArchiveContent;

  constructor(label: string, container: Container, content: ArchiveContent) {
    this.#label = label;
    this.#container = container;
    this.#content = content;
  }

  get images(): readonly ArchivedImage[] {
    return this.#content.images;
  }

  async resolve({ name, platform, signal }: ArchiveSelection = {}): Promise<ResolvedArchiveImage> {
    const chosen = this.#choose(name);
    const [first] = chosen;
    if (first === undefined) throw new OciError('invalid_manifest', `${this.#label} holds no image`);
    const target = chosen.length === 1 ? undefined : indexOf(chosen);
    const problem = target === undefined ? digestProblem(first.entry.digest) : undefined;
    if (problem !== undefined)
      throw new OciError(
        'invalid_manifest',
        `the image ${JSON.stringify(labelOf(first).slice(0, 200))} of ${this.#label} has a digest that cannot be checked here: ${problem}`,
      );
    const api: Pick<RegistryApi, 'send'> = { send: (request) => this.#get(request, target) };
    const digest = target === undefined ? first.entry.digest : undefined;
    const resolver = new Resolver({
      api,
      reference: { ...PLACE, digest },
      options: { platform, signal },
      name: first.names[0] ?? this.#label,
    });
    const { reference: _, ...image } = await resolver.image();
    for (const { descriptor } of image.layers) await this.#assertThere(descriptor);
    const digests = new Set(chosen.map(({ entry }) => entry.digest));
    const names = this.images.flatMap(({ entry, names }) => (digests.has(entry.digest) ? names : []));
    return { ...image, names: [...new Set(names)] };
  }

  /** The entries of the chosen image: several are its platforms. */
  #choose(name: string | undefined): readonly ArchivedImage[] {
    const { images } = this.#content;
    const candidates = name === undefined ? images : this.#called(name);
    const distinct = [...new Map(candidates.map((image) => [image.entry.digest, image])).values()];
    const labels = [...new Set(distinct.map(labelOf))].sort();
    const platforms = new Set(distinct.map(({ entry }) => (entry.platform ? JSON.stringify(entry.platform) : '')));
    const arePlatforms = platforms.size === distinct.length && !platforms.has('');
    const areSame = new Set(distinct.map(({ names }) => [...names].sort().join(' '))).size <= 1;
    if (distinct.length <= 1 || (arePlatforms && (areSame || labels.length === 1))) return distinct;
    const choice = labels.length === distinct.length ? labels : distinct.map(({ entry }) => entry.digest);
    const several = name === undefined ? 'several images' : `several images called ${name}`;
    throw new OciError('invalid_request', `${this.#label} holds ${several}; choose one: ${enumeration(choice)}`);
  }

  #called(name: string): readonly ArchivedImage[] {
    const { images } = this.#content;
    const called = imagesCalled(images, name);
    if (called.length > 0) return called;
    const known = [...new Set(images.flatMap(({ names }) => names.slice(0, 1)))].sort();
    const list = known.length === 0 ? 'its images have no names' : `it holds ${enumeration(known)}`;
    throw new OciError('manifest_unknown', `${this.#label} holds no image called ${name}; ${list}`);
  }

  async #get({ path, signal, receive }: RegistryRequest, target: Buffer | undefined): Promise<RegistryAnswer> {
    if (signal?.aborted) throw cancelledError(signal);
    const [, kind, name = ''] = /^(manifests|blobs)\/(.*)$/.exec(path) ?? [];
    const isTarget = kind === 'manifests' && !name.includes(':');
    const found = isTarget ? target : await this.#content.blob(name);
    if (found === undefined) throw this.#missing(name);
    const bytes = Buffer.isBuffer(found) ? found : await readMember(found, MANIFEST_SIZE_LIMIT);
    const head: ResponseHead = { status: 200, headers: new Map() };
    receive(head)(bytes, { pause: () => undefined, resume: () => undefined });
    return { head, url: new URL('file:///'), hasLeftHost: false, isLoginRefused: false, errorBody: Buffer.alloc(0) };
  }

  async extract(digest: string, destinationPath: string, { signal, onBytes }: ExtractOptions = {}): Promise<void> {
    const found = await this.#content.blob(digest);
    if (found === undefined || Buffer.isBuffer(found)) throw this.#missing(digest);
    try {
      await copyMember(found, destinationPath, signal, onBytes ?? (() => undefined));
    } catch (cause) {
      if (signal?.aborted) throw cancelledError(signal);
      throw fileError(cause, `cannot copy a layer out of ${this.#label}`);
    }
  }

  async close(): Promise<void> {
    await this.#container.close();
  }

  /** Reports a layer that is missing or cut short before any is unpacked. */
  async #assertThere({ digest, size }: Descriptor): Promise<void> {
    const found = await this.#content.blob(digest);
    if (found === undefined || Buffer.isBuffer(found)) throw this.#missing(digest);
    if (found.size === size) return;
    throw new OciError(
      'size_mismatch',
      `the layer ${digest} in ${this.#label} has ${counted(found.size, 'byte')} where ${size} are stated; the archive is damaged or cut short`,
    );
  }

  #missing(digest: string): OciError {
    return new OciError(
      'invalid_manifest',
      `${this.#label} does not hold ${digest}, which it names; it may hold other platforms only, or be cut short`,
    );
  }
}

function indexOf(images: readonly ArchivedImage[]): Buffer {
  const manifests = images.map(({ entry }) => entry);
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }));
}

function labelOf({ names, entry }: ArchivedImage): string {
  return names[0] ?? entry.digest;
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
