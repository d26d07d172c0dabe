import * as z from 'zod';
import { OciError } from '../error.ts';
import { digestLike, isDigest } from './digest.ts';
import {
  bareMediaType,
  isIndexType,
  isManifestType,
  isSchema1,
  mediaTypes,
  unsupportedMediaType,
} from './media-type.ts';
import { normalizePlatform, type Platform } from './platform.ts';
import { textRecord } from './texts.ts';

/** Bytes; larger manifests are refused, as the distribution spec recommends ("Pushing Manifests"). */
export const MANIFEST_SIZE_LIMIT = 4 * 1024 * 1024;

export const descriptorSchema = z.object({
  mediaType: z.string(),
  digest: z.string().refine(isDigest, 'is not a sha256 or sha512 digest'),
  size: z.number().int().nonnegative(),
});

/** OCI image spec, "Descriptors": media type, digest (`sha256:<hex>`) and size in bytes of some content. */
export type Descriptor = z.infer<typeof descriptorSchema>;

/** Without an architecture, a platform counts as not stated; without an OS it means Linux, as for containerd on Linux. */
export const entryPlatformSchema = z
  .object({ os: z.string().nullish(), architecture: z.string().nullish(), variant: z.string().nullish() })
  .nullish()
  .transform((stated): Platform | undefined => {
    const { os, architecture, variant } = stated ?? {};
    return architecture
      ? normalizePlatform({ os: os || 'linux', architecture, variant: variant ?? undefined })
      : undefined;
  });

const indexSchema = z.object({ manifests: z.array(z.unknown()) });

const entrySchema = descriptorSchema.extend({
  platform: entryPlatformSchema,
  annotations: textRecord.nullish(),
});

const unreadEntrySchema = z.object({ platform: entryPlatformSchema.catch(undefined) });

/** Most layers of an image. overlayfs, and so Docker, takes 128; a hostile manifest of 4 MiB can list some 40,000. */
export const LAYER_LIMIT = 1024;

const imageManifestSchema = z.object({
  // A missing type counts as one of the early types (`isConfigType`).
  config: descriptorSchema.extend({ mediaType: z.string().default('') }),
  // Counted before any is validated, since zod reports on each. Go writes an empty list as null, or omits it (`FROM scratch` and a label).
  layers: z
    .array(z.unknown())
    .max(LAYER_LIMIT, `has more than ${LAYER_LIMIT}, which is the limit`)
    .nullish()
    .transform((list) => list ?? [])
    .pipe(z.array(descriptorSchema)),
});

/** Most unreadable entries of an index. Reporting on each takes 40 µs; a hostile index can list some two million. */
const UNREAD_LIMIT = 1024;

export type IndexEntry = z.infer<typeof entrySchema>;

/** An index entry that this version cannot read, such as one with a digest of a future algorithm. It does not hide the others. */
export interface UnreadEntry {
  readonly platform: Platform | undefined;
  /** As `manifests.1.digest: is not …`. */
  readonly problem: string;
}

export type ImageManifest = z.infer<typeof imageManifestSchema>;

/** A verified manifest: an index, or the manifest of one image. */
export type Manifest = { readonly digest: string; readonly mediaType: string } & (
  | { readonly kind: 'index'; readonly entries: readonly IndexEntry[]; readonly unread: readonly UnreadEntry[] }
  | { readonly kind: 'image'; readonly image: ImageManifest }
);

const shapeSchema = z.object({
  mediaType: z.string().nullish(),
  schemaVersion: z.number().nullish(),
  manifests: z.unknown().optional(),
  layers: z.unknown().optional(),
  config: z.unknown().optional(),
  fsLayers: z.unknown().optional(),
});

/** What the registry sent as a manifest. */
export interface ReceivedManifest {
  readonly body: Uint8Array;
  /** `Content-Type` header. */
  readonly contentType: string | undefined;
  /** `Docker-Content-Digest` header. */
  readonly statedDigest: string | undefined;
  /** The digest that was asked for; undefined when it was asked for by tag. */
  readonly wantedDigest: string | undefined;
  /** What messages call the image. */
  readonly name: string;
}

/**
 * Verifies the bytes against the digests that are known of them, and parses them.
 *
 * @throws OciError `digest_mismatch`, `invalid_manifest`, or `unsupported_media_type` naming the type
 */
export function parseManifest(received: ReceivedManifest): Manifest {
  const sentAs = bareMediaType(received.contentType);
  // Before the digest is verified: that of schema 1 covers only the signed part.
  if (isSchema1(sentAs)) throw unsupportedMediaType(received.name, 'its manifest', sentAs);
  const digest = verifiedDigest(received);
  const json = parseJson(received.body, `the manifest of ${received.name}`);
  const shape = shapeSchema.safeParse(json);
  if (!shape.success) throw invalidManifest(received.name, 'it is not a JSON object');
  const mediaType = manifestMediaType(shape.data, received);
  // A document that is both could be one image to this reader and another to the next (GHSA-mc8v-mgrf-8f4m).
  if (shape.data.manifests !== undefined && (shape.data.layers !== undefined || shape.data.config !== undefined)) {
    throw invalidManifest(received.name, 'it is an index and an image manifest at once');
  }
  if (isIndexType(mediaType)) {
    return {
      kind: 'index',
      digest,
      mediaType,
      ...readEntries(parseWith(indexSchema, json, received.name).manifests, received.name),
    };
  }
  return { kind: 'image', digest, mediaType, image: parseWith(imageManifestSchema, json, received.name) };
}

function readEntries(list: readonly unknown[], name: string): { entries: IndexEntry[]; unread: UnreadEntry[] } {
  const entries: IndexEntry[] = [];
  const unread: UnreadEntry[] = [];
  for (const [position, each] of list.entries()) {
    const parsed = entrySchema.safeParse(each);
    if (parsed.success) {
      entries.push(parsed.data);
      continue;
    }
    if (unread.length >= UNREAD_LIMIT) throw invalidManifest(name, 'too many of its entries cannot be read');
    const platform = unreadEntrySchema.safeParse(each).data?.platform;
    unread.push({ platform, problem: firstIssue(parsed.error, ['manifests', position]) });
  }
  return { entries, unread };
}

/** Whether an index entry is a BuildKit attestation: these are listed like images, for the platform unknown/unknown. */
export function isAttestation(entry: Pick<IndexEntry, 'platform' | 'annotations'>): boolean {
  return (
    entry.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest' ||
    (entry.platform?.os === 'unknown' && entry.platform.architecture === 'unknown')
  );
}

/** Parses UTF-8 JSON. @throws OciError `invalid_manifest`, with the suspected reason */
export function parseJson(
  body: Uint8Array,
  what: string,
  suspicion = 'the registry may be broken, or a proxy answered',
): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (cause) {
    throw new OciError('invalid_manifest', `${what} is not JSON; ${suspicion}`, { cause });
  }
}

/** The first problem that zod reports, as `layers.0.digest: is not …`. */
export function firstIssue(error: z.ZodError, within: readonly (string | number)[] = []): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'it is malformed';
  const path = [...within, ...issue.path];
  return path.length === 0 ? issue.message : `${path.join('.')}: ${issue.message}`;
}

/** The digests in a `Docker-Content-Digest` header: a proxy that adds the header may cause it to be sent twice. */
export function statedDigests(header = ''): string[] {
  return header
    .split(',')
    .map((digest) => digest.trim())
    .filter((digest) => digest !== '');
}

function verifiedDigest({ body, statedDigest, wantedDigest, name }: ReceivedManifest): string {
  if (wantedDigest !== undefined && digestLike(wantedDigest, body) !== wantedDigest) {
    throw new OciError(
      'digest_mismatch',
      `the manifest of ${name} does not have the digest that was asked for (${wantedDigest}); what came has ${digestLike(wantedDigest, body)}`,
    );
  }
  // The bytes are the ones that were asked for, whatever digest a cache on the way claims for them.
  if (wantedDigest !== undefined) return wantedDigest;
  const isRight = (each: string): boolean => isDigest(each) && digestLike(each, body) === each;
  if (!statedDigests(statedDigest).every(isRight)) {
    throw new OciError(
      'digest_mismatch',
      `the manifest of ${name} does not match its Docker-Content-Digest header (${statedDigest?.trim().slice(0, 200)}); it was changed on its way, or the registry is broken`,
    );
  }
  return digestLike('sha256:', body);
}

function manifestMediaType(shape: z.infer<typeof shapeSchema>, { contentType, name }: ReceivedManifest): string {
  const stated = shape.mediaType || bareMediaType(contentType);
  if (isIndexType(stated) || isManifestType(stated)) return stated;
  if (shape.schemaVersion === 1 || shape.fsLayers !== undefined) {
    throw unsupportedMediaType(name, 'its manifest', 'application/vnd.docker.distribution.manifest.v1+json');
  }
  if (shape.mediaType) throw unsupportedMediaType(name, 'its manifest', shape.mediaType);
  // Some registries answer `application/json` or `text/plain`, and `mediaType` is optional in OCI: the content decides.
  if (Array.isArray(shape.manifests)) return mediaTypes.index;
  if (Array.isArray(shape.layers)) return mediaTypes.manifest;
  throw unsupportedMediaType(name, 'its manifest', stated);
}

function parseWith<T>(schema: z.ZodType<T>, json: unknown, name: string): T {
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw invalidManifest(name, firstIssue(parsed.error));
  return parsed.data;
}

/** The error for a JSON document of more than `MANIFEST_SIZE_LIMIT` bytes. */
export function documentTooLarge(what: string): OciError {
  return new OciError('invalid_manifest', `${what} is larger than ${MANIFEST_SIZE_LIMIT / 1024 / 1024} MiB`);
}

/** The error for a malformed manifest. */
export function invalidManifest(name: string, reason: string): OciError {
  return new OciError('invalid_manifest', `the manifest of ${name} is invalid: ${reason}`);
}
