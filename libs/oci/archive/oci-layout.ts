import { z } from 'zod';
import { isDigest } from '../digest.ts';
import { OciError } from '../error.ts';
import {
  descriptorSchema,
  firstIssue,
  isAttestation,
  MANIFEST_SIZE_LIMIT,
  parseJson,
  platformSchema,
} from '../manifest.ts';
import type { Container } from './container.ts';
import { type ArchiveContent, readDocument } from './content.ts';

const indexSchema = z.object({
  manifests: z.array(
    z.looseObject({
      ...descriptorSchema.shape,
      platform: platformSchema.nullish(),
      annotations: z.record(z.string(), z.string()).nullish(),
    }),
  ),
});

/** Full names by containerd and Docker; OCI's own is often the tag alone. The full ones are told first. */
const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

/** OCI image spec, "Image Layout"; what `skopeo copy oci-archive:`, `podman save --format oci-archive` and Docker since 25 write. */
export async function readOciLayout(container: Container, name: string): Promise<ArchiveContent | undefined> {
  const bytes = await readDocument(container, 'index.json', MANIFEST_SIZE_LIMIT);
  if (bytes === undefined) return undefined;
  const parsed = indexSchema.safeParse(parseJson(bytes, `index.json of ${name}`));
  if (!parsed.success) {
    throw new OciError('invalid_manifest', `index.json of ${name} is invalid: ${firstIssue(parsed.error)}`);
  }
  const images = parsed.data.manifests
    .filter((entry) => !isAttestation(entry))
    .map((entry) => ({
      entry,
      names: NAME_ANNOTATIONS.map((key) => entry.annotations?.[key] ?? '').filter((each) => each !== ''),
    }));
  return {
    images,
    blob: async (digest) => (isDigest(digest) ? container.find(`blobs/${digest.replace(':', '/')}`) : undefined),
  };
}
