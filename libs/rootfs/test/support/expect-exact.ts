import { describeStack, type LayerStack } from './arbitrary-layers.ts';
import { buildImage } from './layers.ts';
import { differences } from './listing.ts';
import { withoutAddedMountPoints } from './mount-points.ts';
import { listImage } from './mounted.ts';
import { modelTree } from './oci-model.ts';
import type { TarEntry } from './tar-entry.ts';
import { withTemporaryDirectory } from './temporary-directory.ts';

/** Builds an image of the layers and lets the kernel mount it: throws unless it is clean, and what the model says. */
export async function expectExact(stack: LayerStack): Promise<void> {
  const { mounted, expected } = await mountedAndModel(stack.layers);
  const found = differences(mounted, expected);
  if (found.length > 0) throw new Error(`${found.join('\n')}\n${describeStack(stack)}`);
}

/** The image of layers, lowest first, which must be clean, as the kernel shows it, and what the model says. */
export async function mountedAndModel(layers: readonly (readonly TarEntry[])[]) {
  return await withTemporaryDirectory(async (directory) => {
    const { path } = await buildImage(directory, layers);
    const expected = modelTree(layers, { unstatedMtime: 0n });
    return { mounted: withoutAddedMountPoints(await listImage(path), expected), expected };
  });
}
