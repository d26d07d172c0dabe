import { describeStack, type LayerStack } from './arbitrary-layers.ts';
import { buildImage } from './layers.ts';
import { differences } from './listing.ts';
import { withoutAddedMountPoints } from './mount-points.ts';
import { fileSystemFaults, listImage } from './mounted.ts';
import { modelTree } from './oci-model.ts';
import type { TarEntry } from './tar-entry.ts';
import { withTemporaryDirectory } from './temporary-directory.ts';

/** Builds an image of the layers and lets the kernel mount it: throws unless it is clean, and what the model says. */
export async function expectExact(stack: LayerStack): Promise<void> {
  const found = await faultsOf(stack.layers);
  if (found.length > 0) throw new Error(`${found.join('\n')}\n${describeStack(stack)}`);
}

/** Every way in which the image of these layers, lowest first, is not what it should be. */
export async function faultsOf(layers: readonly (readonly TarEntry[])[]): Promise<string[]> {
  const { faults, mounted, expected } = await mountedAndModel(layers);
  return faults === '' ? differences(mounted, expected) : [faults];
}

/** The image of layers, lowest first, as the kernel shows it, what `e2fsck` finds wrong with it, and what the model says. */
export async function mountedAndModel(layers: readonly (readonly TarEntry[])[]) {
  return await withTemporaryDirectory(async (directory) => {
    const { path } = await buildImage(directory, layers);
    const expected = modelTree(layers, { unstatedMtime: 0n });
    const faults = await fileSystemFaults(path);
    return { faults, mounted: withoutAddedMountPoints(await listImage(path), expected), expected };
  });
}
