import * as z from 'zod';
import { OciError } from '../error.ts';
import { isDigest } from '../image/digest.ts';
import { descriptorSchema, entryPlatformSchema, firstIssue, isAttestation, parseJson } from '../image/manifest.ts';
import { textRecord } from '../image/texts.ts';
import type { Container } from './container.ts';
import { type ArchiveContent, DAMAGED, isName, readDocument } from './content.ts';

const indexSchema = z.object({
  // `umoci init` writes null.
  manifests: z
    .array(z.unknown())
    .nullable()
    .transform((list) => list ?? []),
});

const entrySchema = descriptorSchema.extend({
  // A digest that cannot be verified only matters where its image is chosen.
  digest: z.string(),
  platform: entryPlatformSchema,
  annotations: textRecord.nullish(),
});

/** containerd's and Docker's annotation has the full name, OCI's often only the tag. Full names come first. */
const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

/**
 * Reads an OCI image layout (OCI image spec, "Image Layout"), as `skopeo copy oci-archive:`, `podman save --format oci-archive` and Docker
 * from 25 on write it. Undefined without an `index.json`.
 *
 * @throws OciError `invalid_manifest`
 */
export async function readOciLayout(container: Container, name: string): Promise<ArchiveContent | undefined> {
  const member = await container.find('index.json');
  if (member === undefined) return undefined;
  const what = `index.json of ${name}`;
  const json = parseJson(await readDocument(member, what), what, DAMAGED);
  const parse = <T>(schema: z.ZodType<T>, value: unknown, ...within: (string | number)[]): T => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new OciError('invalid_manifest', `${what} is invalid: ${firstIssue(parsed.error, within)}`);
  };
  // One by one, up to the first problem: zod takes a minute to report a million.
  const images = parse(indexSchema, json)
    .manifests.map((entry, position) => parse(entrySchema, entry, 'manifests', position))
    .filter((entry) => !isAttestation(entry))
    .map((entry) => ({
      entry,
      names: NAME_ANNOTATIONS.map((key) => entry.annotations?.[key] ?? '').filter(isName),
    }));
  return {
    images,
    blob: async (digest) => (isDigest(digest) ? container.find(`blobs/${digest.replace(':', '/')}`) : undefined),
  };
}
