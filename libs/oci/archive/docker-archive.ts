import { createHash } from 'node:crypto';
import * as z from 'zod';
import { cancelledError } from '../cancellation.ts';
import { OciError } from '../error.ts';
import { sha256Digest } from '../image/digest.ts';
import { parseImageConfig } from '../image/image-config.ts';
import { type Descriptor, firstIssue, LAYER_LIMIT, parseJson } from '../image/manifest.ts';
import { mediaTypes } from '../image/media-type.ts';
import { textList } from '../image/texts.ts';
import type { Container, Member } from './container.ts';
import { type ArchiveContent, type ArchivedImage, DAMAGED, isName, readDocument, readMember } from './content.ts';
import { sniffCompression } from './decompress.ts';

/** Most images of an archive: the config of each, up to 4 MiB, is read and hashed when the archive is opened. */
const IMAGE_LIMIT = 1024;

/** Most names of an archive: 4 MiB hold a million, and each is parsed to find the one that is asked for. */
const NAME_LIMIT = 10_000;

/** moby, `image/tarexport`: one object per image. */
const manifestSchema = z
  .array(
    z.object({
      Config: z.string(),
      RepoTags: textList.nullish().transform((tags) => (tags ?? []).filter(isName)),
      Layers: z
        .array(z.string())
        .max(LAYER_LIMIT)
        .nullish()
        .transform((list) => list ?? []),
    }),
  )
  .max(IMAGE_LIMIT)
  .refine(
    (images) => images.flatMap(({ RepoTags }) => RepoTags).length <= NAME_LIMIT,
    `has more than ${NAME_LIMIT} names`,
  );

/**
 * Reads the layout that `docker save` has written since 1.10, and that `podman save` and `skopeo copy docker-archive:` write. It has no
 * manifest as a registry has, so one is made of the config and the layers as they are stored. Undefined without a `manifest.json`.
 */
export async function readDockerArchive(
  container: Container,
  name: string,
  signal: AbortSignal | undefined,
): Promise<ArchiveContent | undefined> {
  const list = await readDockerImageList(container, name);
  if (list === undefined) return undefined;
  const reader = new DockerArchive(container, name, signal);
  for (const { Config, RepoTags, Layers } of list) await reader.add(Config, RepoTags, Layers);
  return reader;
}

/** The images in `manifest.json`; undefined without one. @throws OciError `invalid_manifest`, `invalid_request` for skopeo's `dir:` */
export async function readDockerImageList(
  container: Container,
  name: string,
): Promise<z.output<typeof manifestSchema> | undefined> {
  const member = await container.find('manifest.json');
  if (member === undefined) return undefined;
  const what = `manifest.json of ${name}`;
  const json = parseJson(await readDocument(member, what), what, DAMAGED);
  if (isDirectoryManifest(json)) {
    throw new OciError(
      'invalid_request',
      `${name} is what skopeo writes to \`dir:\`; give it to \`skopeo copy\` once more, with \`oci:\` as the target`,
    );
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) {
    throw new OciError('invalid_manifest', `${what} is invalid: ${firstIssue(parsed.error)}`);
  }
  return parsed.data;
}

/** skopeo's `dir:` layout keeps a registry's manifest under the name that Docker uses for its list of images. */
function isDirectoryManifest(json: unknown): boolean {
  return z.object({ schemaVersion: z.number() }).safeParse(json).success;
}

class DockerArchive implements ArchiveContent {
  readonly images: ArchivedImage[] = [];
  readonly #container: Container;
  readonly #name: string;
  readonly #blobs = new Map<string, Member | Buffer>();
  /** Layers seen so far, by their place in the archive: its images may share them. */
  readonly #layers = new Map<string, Descriptor>();
  readonly #signal: AbortSignal | undefined;

  constructor(container: Container, name: string, signal: AbortSignal | undefined) {
    this.#container = container;
    this.#name = name;
    this.#signal = signal;
  }

  async blob(digest: string): Promise<Member | Buffer | undefined> {
    return this.#blobs.get(digest);
  }

  async add(configName: string, names: readonly string[], layerNames: readonly string[]): Promise<void> {
    const member = await this.#member(configName);
    const config = await readDocument(member, `the config of ${this.#name}`);
    const { diffIds } = parseImageConfig(config, this.#name, DAMAGED);
    const layers: Descriptor[] = [];
    for (const [position, layerName] of layerNames.entries()) {
      layers.push(await this.#layer(await this.#member(layerName), diffIds[position]));
    }
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config: this.#keep(config, member, mediaTypes.config),
        layers,
      }),
    );
    this.images.push({ names, entry: this.#keep(manifest, manifest, mediaTypes.manifest) });
  }

  /** Configs are not kept in memory: an archive may hold gigabytes of them. */
  #keep(bytes: Buffer, source: Member | Buffer, mediaType: string): Descriptor {
    const digest = sha256Digest(bytes);
    this.#blobs.set(digest, source);
    return { mediaType, digest, size: bytes.length };
  }

  async #layer(member: Member, diffId: string | undefined): Promise<Descriptor> {
    const place = `${member.file.fd} ${member.offset}`;
    const known = this.#layers.get(place);
    if (known !== undefined) return known;
    const compression = sniffCompression(await readMember({ ...member, size: Math.min(4, member.size) }, 4));
    // The config has the digest of an uncompressed layer, which is verified when the layer is decoded. No document has that of a compressed one.
    const digest = compression === 'none' && diffId !== undefined ? diffId : await digestOf(member, this.#signal);
    this.#blobs.set(digest, member);
    const descriptor = { mediaType: mediaTypes.layer[compression], digest, size: member.size };
    this.#layers.set(place, descriptor);
    return descriptor;
  }

  async #member(name: string): Promise<Member> {
    const member = await this.#container.find(name);
    if (member !== undefined) return member;
    throw new OciError(
      'invalid_manifest',
      `${this.#name} does not hold ${JSON.stringify(name)}, which its manifest.json names`,
    );
  }
}

const READ_BYTES = 1024 * 1024;

async function digestOf({ file, offset, size }: Member, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(Math.min(size, READ_BYTES));
  for (let done = 0; done < size; ) {
    if (signal?.aborted) throw cancelledError(signal);
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - done), offset + done);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    done += bytesRead;
  }
  return `sha256:${hash.digest('hex')}`;
}
