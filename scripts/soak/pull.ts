import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Credentials,
  OciError,
  parsePlatform,
  parseReference,
  type RegistryClient,
  type ResolvedLayer,
} from '../../libs/oci/index.ts';
import { type Lane, tellsSecret } from './lane.ts';
import type { PlannedPull } from './planned-pull.ts';
import type { Tally } from './tally.ts';

const platform = parsePlatform('linux');

/** Runs a planned pull and tallies how it ended; anything unexpected is a violation, named by `label`. */
export async function checkedPull(
  client: RegistryClient,
  lane: Lane,
  planned: PlannedPull,
  label: string,
  tally: Tally,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-soak-'));
  const { expected } = planned;
  try {
    await pull(client, lane, planned, directory, tally);
    tally.completed += 1;
    // A cancellation may come too late, and a fault of a layer has no effect on an image without layers.
    const mayComplete = expected.length === 0 || expected.includes('cancelled') || planned.blobs.size === 0;
    if (!mayComplete) tally.violations.push(`${label}: completed, but should have been ${expected.join(' or ')}`);
  } catch (error) {
    const code = error instanceof OciError ? error.code : 'no OciError';
    tally.refused.add(code);
    const text = error instanceof Error ? error.message : String(error);
    if (!expected.includes(code))
      tally.violations.push(`${label}: ${code} (${text}), not ${expected.join(' or ') || 'success'}`);
    if (tellsSecret(text)) tally.violations.push(`${label}: the error tells a secret: ${text}`);
  } finally {
    tally.requests += lane.registry.requests.length + lane.storage.requests.length;
    await rm(directory, { recursive: true, force: true });
  }
}

/** Resolves the image, and fetches its layers at once into `directory`. */
async function pull(
  client: RegistryClient,
  { credentials }: Lane,
  { reference, blobs, cancelAfter }: PlannedPull,
  directory: string,
  tally: Tally,
): Promise<void> {
  const cancel = new AbortController();
  const timer =
    cancelAfter === undefined ? undefined : setTimeout(() => cancel.abort(new Error('by plan')), cancelAfter);
  const options = { credentials, signal: cancel.signal };
  try {
    const image = await client.resolve(parseReference(reference), { ...options, platform });
    const results = await Promise.allSettled(
      image.layers.map(async (layer, position) => {
        const path = join(directory, `${position}`);
        const bytes = await fetchLayer(client, reference, layer, { ...options, path }, tally);
        if (blobs.get(layer.descriptor.digest)?.equals(bytes) !== true)
          throw new Error(`${layer.descriptor.digest} has wrong bytes`);
        tally.bytes += bytes.length;
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  } finally {
    clearTimeout(timer);
  }
}

/** Fetches a layer as a worker does: discards wrong bytes and fetches them once more. */
async function fetchLayer(
  client: RegistryClient,
  reference: string,
  { descriptor }: ResolvedLayer,
  options: { path: string; credentials: Credentials | undefined; signal: AbortSignal },
  tally: Tally,
): Promise<Buffer> {
  for (let again = false; ; again = true) {
    await client.download(parseReference(reference), descriptor, options.path, options);
    const bytes = await readFile(options.path);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    if (digest === descriptor.digest) return bytes;
    if (again) throw new Error(`${descriptor.digest} came wrong twice`);
    tally.refetched += 1;
    await rm(options.path);
  }
}
