import { type ArchiveLayout, imageArchive } from '../../test/support/archive.ts';
import { fileLayer } from '../../test/support/layer.ts';
import type { LayerSource, PushedImage, TestRegistry } from '../../test/support/registry.ts';
import type { Random } from '../random.ts';

/** Bytes of the layers, small and large. */
const SIZES = [20_000, 300_000, 1_500_000, 3_000_000] as const;
const BASES = 3;
const LAYOUTS: readonly [ArchiveLayout, ...ArchiveLayout[]] = ['docker-old', 'docker', 'oci'];

/** An image that can be pulled, or imported from an archive of the same layers. */
export interface ChaosImage extends PushedImage {
  readonly id: string;
  archive(): Promise<Buffer>;
}

/** Pushes images that share their lower layers, like images made from the same base. */
export async function pushImages(registry: TestRegistry, random: Random, count: number): Promise<ChaosImage[]> {
  const layer = (name: string): Promise<LayerSource> =>
    fileLayer({ [`${name}/data`]: random.bytes(random.pick(SIZES)), [`${name}/id`]: name });
  const bases: LayerSource[] = [];
  for (let i = 0; i < BASES; i += 1) bases.push(await layer(`base${i}`));
  const images: ChaosImage[] = [];
  for (let i = 0; i < count; i += 1) {
    const base = bases[random.between(0, BASES - 1)];
    const own = await layer(`own${i}`);
    const layers = base === undefined ? [own] : [base, own];
    const layout = random.pick(LAYOUTS);
    images.push({
      ...registry.pushImage({ repository: `chaos/image${i}`, tag: '1', layers }),
      id: `image${i}`,
      archive: () => imageArchive(layout, [{ tags: [`image${i}:1`], tars: layers.map(({ tar }) => tar) }]),
    });
  }
  return images;
}
