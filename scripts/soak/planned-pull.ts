import type { LayerSource, PushedImage } from '../../test/support/registry.ts';
import type { Random } from '../random.ts';
import { LASTING_FAULTS, passingFault } from './fault.ts';
import { clearLane, type Lane } from './lane.ts';

/** The most passing faults on one path. */
const FAULTS_PER_PATH = 3;

export interface PlannedPull {
  readonly reference: string;
  /** The layers' bytes, compressed, by digest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
  /** What the pull must end with: one of these codes, or success where there are none. */
  readonly expected: readonly string[];
  /** Ms after which it is cancelled. */
  readonly cancelAfter?: number;
}

/** Puts an image into the lane's registry, and plans faults for its pull. */
export function planPull(random: Random, lane: Lane): PlannedPull {
  clearLane(lane);
  const { image, blobs } = putImage(random, lane);
  const { reference, manifest } = image;
  const lastingFault = random.is(0.25) ? random.pick(LASTING_FAULTS) : undefined;
  // Before the passing faults, as the first one that matches strikes.
  const [firstBlob = manifest.config.digest] = blobs.keys();
  lastingFault?.plan(lane, firstBlob);
  planPassingFaults(random, lane, image, blobs);

  if (lastingFault !== undefined) return { reference, blobs, expected: lastingFault.expected };
  if (random.is(0.1)) return { reference, blobs, expected: ['cancelled'], cancelAfter: random.between(0, 29) };
  if (random.is(0.05)) return { reference: `${reference}-none`, blobs, expected: ['manifest_unknown'] };
  const [corrupt] = blobs;
  if (corrupt !== undefined && random.is(0.15)) {
    const [digest, bytes] = corrupt;
    lane.registry.plan({ path: `/blobs/${digest}`, corruptAt: random.between(0, bytes.length - 1), times: 1 });
  }
  return { reference, blobs, expected: [] };
}

/** An image of up to six layers, behind an index half the time; its blobs are in the storage, too. */
function putImage(random: Random, { registry, storage }: Lane): { image: PushedImage; blobs: Map<string, Buffer> } {
  const layers = Array.from({ length: random.between(0, 6) }, () => randomLayer(random));
  const repository = `soak/${random.pick(['one', 'two', 'three'])}`;
  const image = registry.pushImage({ repository, layers });
  const others = ['s390x', 'riscv64'].map(
    (architecture) =>
      registry.pushImage({ repository, tag: architecture, layers: [], platform: { architecture } }).descriptor,
  );
  if (random.is(0.5)) registry.pushIndex(repository, 'latest', [...others, image.descriptor]);
  const blobs = new Map<string, Buffer>();
  for (const { digest } of image.layers) blobs.set(digest, registry.blob(digest) ?? Buffer.alloc(0));
  for (const bytes of blobs.values()) storage.putBlob(bytes);
  storage.putBlob(registry.blob(image.manifest.config.digest) ?? Buffer.alloc(0));
  return { image, blobs };
}

function randomLayer(random: Random): LayerSource {
  const limit = random.pick([600, 60_000, 600_000, 5_000_000]);
  // Half of it noise, half a pattern, so that compression has something to do.
  const tar = Buffer.alloc(random.between(512, 511 + limit));
  random.bytes(Math.floor(tar.length / 2)).copy(tar);
  const compression = random.pick(['gzip', 'gzip', 'none', 'zstd'] as const);
  return { tar, compression };
}

function planPassingFaults(
  random: Random,
  { registry, storage }: Lane,
  { manifest }: PushedImage,
  blobs: ReadonlyMap<string, Buffer>,
): void {
  const answers: [path: string, size: number, isLayer: boolean][] = [
    ...[...blobs].map(([digest, bytes]): [string, number, boolean] => [`/blobs/${digest}`, bytes.length, true]),
    [`/blobs/${manifest.config.digest}`, manifest.config.size, false],
    ['/token', 10, false],
  ];
  for (const [path, size, isLayer] of answers) {
    for (let count = random.between(0, FAULTS_PER_PATH); count > 0; count -= 1) {
      const wrong = passingFault(random, size, storage);
      // Only a blob with ranges can survive the other faults.
      const isBroken = wrong.status !== undefined || wrong.cutAfter !== undefined || wrong.resetAfter !== undefined;
      if (isLayer || isBroken) registry.plan({ path, ...wrong, times: 1 });
    }
    if (random.is(0.2)) storage.plan({ path, cutAfter: random.between(0, size), times: 1 });
  }
}
