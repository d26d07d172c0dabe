import type { Credentials } from '../authentication/credentials.ts';
import { OciError } from '../error.ts';
import type { ImageConfig } from '../image/image-config.ts';
import {
  type Descriptor,
  type IndexEntry,
  invalidManifest,
  isAttestation,
  type Manifest,
  type UnreadEntry,
} from '../image/manifest.ts';
import {
  isConfigType,
  isIndexType,
  isManifestType,
  type LayerCompression,
  layerCompression,
  unsupportedMediaType,
} from '../image/media-type.ts';
import { formatPlatform, hostPlatform, type Platform, platformDistance } from '../image/platform.ts';
import { familiarReference, type Reference } from '../image/reference.ts';
import { counted, enumeration } from '../image/texts.ts';
import { ImageDocuments } from './image-documents.ts';
import type { RegistryApi } from './registry-api.ts';
import { isReusable, type Resolution } from './resolution.ts';

/** One layer of an image, as its manifest and config describe it. */
export interface ResolvedLayer {
  readonly descriptor: Descriptor;
  /** Digest of the uncompressed tar, from the config. */
  readonly diffId: string;
  readonly compression: LayerCompression;
}

/** What a reference points to, for one platform. */
export interface ResolvedImage extends Resolution {
  readonly reference: Reference;
  /** The image's own, as its config states it. */
  readonly platform: Platform;
  readonly config: ImageConfig;
  readonly configDigest: string;
  /** Bottom first. */
  readonly layers: readonly ResolvedLayer[];
}

export interface ResolveOptions {
  /** Defaults to this machine's; then an image without an index is accepted for any Linux platform, as Docker does. */
  readonly platform?: Platform;
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
}

/** Deepest nesting of indexes, the outermost being 1. */
const INDEX_DEPTH_LIMIT = 4;

/** The manifest of an image for one platform, as opposed to an index. */
type PlatformManifest = Manifest & { readonly kind: 'image' };

export interface ResolverRequest {
  readonly api: Pick<RegistryApi, 'send'>;
  readonly reference: Reference;
  readonly options: ResolveOptions;
  /** The image's reference at the host that is asked: another one for a mirror. Default: `reference`. */
  readonly source?: Reference;
  /** What messages call the image. Default: its familiar name. */
  readonly name?: string;
}

/** Finds the image of a reference: manifest, platform, config. One object serves one call. */
export class Resolver {
  readonly #reference: Reference;
  readonly #documents: ImageDocuments;
  readonly #name: string;
  readonly #options: ResolveOptions;
  readonly #wanted: Platform;
  readonly #available = new Set<string>();
  readonly #unread: UnreadEntry[] = [];
  /** Why the first entry for the platform was refused. */
  #refusal: OciError | undefined;

  constructor({ api, reference, options, source, name }: ResolverRequest) {
    const { credentials, signal } = options;
    this.#reference = reference;
    this.#name = name ?? familiarReference(reference);
    this.#documents = new ImageDocuments({ api, source: source ?? reference, name: this.#name, credentials, signal });
    this.#options = options;
    this.#wanted = options.platform ?? hostPlatform();
  }

  /** Everything that a pull needs to know; see `RegistryClient.resolve`. */
  async image(): Promise<ResolvedImage> {
    const target = await this.#target();
    const manifest = await this.#choose(target);
    const { image, digest: manifestDigest } = manifest;
    const layers = this.#layers(manifest);
    const { config, platform, diffIds } = await this.#documents.config(image);
    if (target.kind === 'image') this.#assertPlatform(platform);
    if (diffIds.length !== layers.length) {
      throw new OciError(
        'invalid_manifest',
        `the image ${this.#name} is invalid: its manifest has ${counted(layers.length, 'layer')} and its config ${diffIds.length}`,
      );
    }
    for (const diffId of diffIds) this.#assertSha256(diffId);
    return {
      reference: this.#reference,
      ...this.#resolution(target, manifestDigest),
      platform,
      config,
      configDigest: image.config.digest,
      layers: layers.map((layer, position) => ({ ...layer, diffId: diffIds[position] ?? '' })),
    };
  }

  /** The digests only, with as few requests as possible. Without an index, only a platform that was asked for is checked. */
  async digests(): Promise<Resolution> {
    const target = await this.#target();
    if (target.kind === 'image') {
      if (this.#options.platform !== undefined)
        this.#assertPlatform((await this.#documents.config(target.image)).platform);
      return this.#resolution(target, target.digest);
    }
    const [only, ...others] = this.#fitting(target.entries);
    // Of several, one may be an artifact, which only its manifest shows.
    const chosen = only !== undefined && others.length === 0 ? only : await this.#choose(target);
    return this.#resolution(target, chosen.digest);
  }

  /** See `RegistryClient.isUnchanged`. @throws OciError if the host's answer does not tell, or does not come */
  async isUnchanged(known: Resolution): Promise<boolean> {
    const { digest } = this.#reference;
    // What a digest names needs no asking for, and no host may say that it is something else.
    if (digest !== undefined && digest !== known.targetDigest) return false;
    const isAsked = this.#options.platform !== undefined;
    return (
      isReusable(known, this.#wanted, isAsked) &&
      (await this.#documents.pointsTo(this.#tagOrDigest, known.targetDigest))
    );
  }

  get #tagOrDigest(): string {
    return this.#reference.digest ?? this.#reference.tag ?? 'latest';
  }

  #resolution(target: Manifest, manifestDigest: string): Resolution {
    return { manifestDigest, targetDigest: target.digest, wantedPlatform: formatPlatform(this.#wanted) };
  }

  async #target(): Promise<Manifest> {
    return this.#manifest(this.#tagOrDigest);
  }

  async #choose(target: Manifest): Promise<PlatformManifest> {
    const found = target.kind === 'image' ? target : await this.#search(target.entries, 1);
    if (found !== undefined) return found;
    const unread = this.#unread.find(
      ({ platform }) => platform === undefined || platformDistance(this.#wanted, platform) !== undefined,
    );
    if (unread !== undefined) throw invalidManifest(this.#name, unread.problem);
    throw this.#refusal ?? this.#platformNotFound();
  }

  /** Depth first: the best image of this index, else one of a nested index, else an entry that states no platform. */
  async #search(entries: readonly IndexEntry[], depth: number): Promise<PlatformManifest | undefined> {
    for (const entry of this.#fitting(entries)) {
      const manifest = await this.#imageOrRefusal(entry);
      if (!(manifest instanceof OciError)) return manifest;
      this.#refusal ??= manifest;
    }
    const images = entries.filter((entry) => !isAttestation(entry));
    for (const { platform, mediaType } of images) {
      if (platform && !isIndexType(mediaType)) this.#available.add(formatPlatform(platform));
    }
    for (const entry of images.filter(({ mediaType }) => isIndexType(mediaType))) {
      if (depth >= INDEX_DEPTH_LIMIT) throw this.#tooDeep();
      const inner = await this.#manifest(entry.digest, entry);
      const found = inner.kind === 'image' ? undefined : await this.#search(inner.entries, depth + 1);
      if (found !== undefined) return found;
    }
    for (const entry of images.filter(({ platform, mediaType }) => !platform && !isIndexType(mediaType))) {
      const manifest = await this.#imageOrRefusal(entry);
      if (manifest instanceof OciError) continue;
      const { platform } = await this.#documents.config(manifest.image);
      if (platformDistance(this.#wanted, platform) !== undefined) return manifest;
      this.#available.add(formatPlatform(platform));
    }
    return undefined;
  }

  /** Entries for the platform, the closest first, equally close ones in the index's order. */
  #fitting(entries: readonly IndexEntry[]): IndexEntry[] {
    const fitting: { entry: IndexEntry; distance: number }[] = [];
    for (const entry of entries) {
      if (!entry.platform || isAttestation(entry) || isIndexType(entry.mediaType)) continue;
      const distance = platformDistance(this.#wanted, entry.platform);
      if (distance !== undefined) fitting.push({ entry, distance });
    }
    return fitting.sort((one, other) => one.distance - other.distance).map(({ entry }) => entry);
  }

  /** Signatures, SBOMs and other artifacts are listed beside images, even for the same platform: they must not hide an image. */
  async #imageOrRefusal(entry: IndexEntry): Promise<PlatformManifest | OciError> {
    const { mediaType } = entry;
    if (!isManifestType(mediaType)) return unsupportedMediaType(this.#name, 'an entry of its index', mediaType);
    try {
      const manifest = await this.#imageManifest(entry);
      this.#layers(manifest);
      return manifest;
    } catch (error) {
      if (error instanceof OciError && error.code === 'unsupported_media_type') return error;
      throw error;
    }
  }

  async #imageManifest(descriptor: Descriptor): Promise<PlatformManifest> {
    const manifest = await this.#manifest(descriptor.digest, descriptor);
    if (manifest.kind === 'image') return manifest;
    throw new OciError(
      'invalid_manifest',
      `the index of ${this.#name} is invalid: ${descriptor.digest} is not an image manifest`,
    );
  }

  async #manifest(tagOrDigest: string, descriptor?: Descriptor): Promise<Manifest> {
    const manifest = await this.#documents.manifest(tagOrDigest, descriptor);
    if (manifest.kind === 'index') this.#unread.push(...manifest.unread);
    return manifest;
  }

  #layers({ image, mediaType: manifestType }: PlatformManifest): Omit<ResolvedLayer, 'diffId'>[] {
    const { mediaType } = image.config;
    if (!isConfigType(mediaType, manifestType)) throw unsupportedMediaType(this.#name, 'its config', mediaType);
    return image.layers.map((descriptor) => {
      this.#assertSha256(descriptor.digest);
      const compression = layerCompression(descriptor.mediaType);
      if (compression === undefined) throw unsupportedMediaType(this.#name, 'a layer', descriptor.mediaType);
      return { descriptor, compression };
    });
  }

  /** @param digest of a layer, or of its tar */
  #assertSha256(digest: string): void {
    if (digest.startsWith('sha256:')) return;
    throw new OciError(
      'unsupported_media_type',
      `${this.#name} cannot be pulled: its layer ${digest.slice(0, 30)}… is not named by a SHA-256, which is what is checked here`,
    );
  }

  /** An image without an index is accepted for any Linux platform unless one was asked for. */
  #assertPlatform(platform: Platform): void {
    const isAsked = this.#options.platform !== undefined;
    const fits = isAsked ? platformDistance(this.#wanted, platform) !== undefined : platform.os === this.#wanted.os;
    if (fits) return;
    this.#available.add(formatPlatform(platform));
    throw this.#platformNotFound();
  }

  #platformNotFound(): OciError {
    const list = [...this.#available].sort();
    const available = list.length === 0 ? 'it lists no image at all' : `it is available for ${enumeration(list)}`;
    return new OciError(
      'platform_not_found',
      `${this.#name} has no image for ${formatPlatform(this.#wanted)}; ${available}`,
    );
  }

  #tooDeep(): OciError {
    return new OciError('invalid_manifest', `the index of ${this.#name} is nested too deeply`);
  }
}
