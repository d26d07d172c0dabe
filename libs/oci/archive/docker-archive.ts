import { createHash } from 'node:crypto';
import { z } from 'zod';
import { sha256Digest } from '../digest.ts';
import { OciError } from '../error.ts';
import { parseImageConfig } from '../image-config.ts';
import { type Descriptor, firstIssue, MANIFEST_SIZE_LIMIT, parseJson } from '../manifest.ts';
import { mediaTypes } from '../media-type.ts';
import type { Container, Member } from './container.ts';
import { type ArchiveContent, type ArchivedImage, readDocument, readMember } from './content.ts';
import { sniffCompression } from './decompress.ts';

/** moby, `image/tarexport`: one object an image. */
const manifestSchema = z.array(
  z.object({
    Config: z.string(),
    RepoTags: z.array(z.string()).nullish(),
    Layers: z
      .array(z.string())
      .nullish()
      .transform((list) => list ?? []),
  }),
);

/**
 * What `docker save` has written since 1.10, and `podman save` and `skopeo copy docker-archive:` do. It holds no manifest in the sense
 * of a registry, so that one is made: of the config and the layers as they stand there.
 */
export async function readDockerArchive(container: Container, name: string): Promise<ArchiveContent | undefined> {
  const bytes = await readDocument(container, 'manifest.json', MANIFEST_SIZE_LIMIT);
  if (bytes === undefined) return undefined;
  const parsed = manifestSchema.safeParse(parseJson(bytes, `manifest.json of ${name}`));
  if (!parsed.success) {
    throw new OciError('invalid_manifest', `manifest.json of ${name} is invalid: ${firstIssue(parsed.error)}`);
  }
  const reader = new DockerArchive(container, name);
  for (const { Config, RepoTags, Layers } of parsed.data) await reader.add(Config, RepoTags ?? [], Layers);
  return reader;
}

class DockerArchive implements ArchiveContent {
  readonly images: ArchivedImage[] = [];
  readonly #container: Container;
  readonly #name: string;
  readonly #blobs = new Map<string, Member | Buffer>();
  /** Layers that were read, by where they stand: images of one archive share them. */
  readonly #layers = new Map<number, Descriptor>();

  constructor(container: Container, name: string) {
    this.#container = container;
    this.#name = name;
  }

  async blob(digest: string): Promise<Member | Buffer | undefined> {
    return this.#blobs.get(digest);
  }

  async add(configName: string, names: readonly string[], layerNames: readonly string[]): Promise<void> {
    const config = await readMember(await this.#member(configName), MANIFEST_SIZE_LIMIT);
    const { diffIds } = parseImageConfig(config, this.#name);
    const layers: Descriptor[] = [];
    for (const [position, layerName] of layerNames.entries()) {
      layers.push(await this.#layer(await this.#member(layerName), diffIds[position]));
    }
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config: this.#keep(config, mediaTypes.config),
        layers,
      }),
    );
    this.images.push({ names, entry: this.#keep(manifest, mediaTypes.manifest) });
  }

  #keep(bytes: Buffer, mediaType: string): Descriptor {
    const digest = sha256Digest(bytes);
    this.#blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  async #layer(member: Member, diffId: string | undefined): Promise<Descriptor> {
    const known = this.#layers.get(member.offset);
    if (known !== undefined) return known;
    const compression = sniffCompression(await readMember({ ...member, size: Math.min(4, member.size) }, 4));
    // The digest of a plain layer stands in the config, and is checked when the layer is decoded; that of a compressed one nowhere.
    const digest = compression === 'none' && diffId !== undefined ? diffId : await digestOf(member);
    this.#blobs.set(digest, member);
    const descriptor = { mediaType: mediaTypes.layer[compression], digest, size: member.size };
    this.#layers.set(member.offset, descriptor);
    return descriptor;
  }

  async #member(name: string): Promise<Member> {
    const member = await this.#container.find(name);
    if (member !== undefined) return member;
    throw new OciError(
      'invalid_manifest',
      `the archive ${this.#name} does not hold ${JSON.stringify(name)}, which its manifest.json names`,
    );
  }
}

const READ_BYTES = 1024 * 1024;

async function digestOf({ file, offset, size }: Member): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(Math.min(size, READ_BYTES));
  for (let done = 0; done < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - done), offset + done);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    done += bytesRead;
  }
  return `sha256:${hash.digest('hex')}`;
}
