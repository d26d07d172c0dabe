import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { describeStack, type LayerStack, layerStacks, stackRuns } from './support/arbitrary-layers.ts';
import { buildImage, withTemporaryDirectory } from './support/layers.ts';
import { differences } from './support/listing.ts';
import { withoutAddedMountPoints } from './support/mount-points.ts';
import { fileSystemFaults, listImage, whyNotMountable } from './support/mounted.ts';
import { modelTree } from './support/oci-model.ts';

/** Stacks in one image, so that mke2fs, e2fsck and the mount are paid for once in so many. */
const STACKS_AN_IMAGE = 8;

const reason = await whyNotMountable();
if (reason !== undefined)
  process.stderr.write(`skipped: random stacks are not compared with what the kernel mounts: ${reason}\n`);

describe('an image of random layers', () => {
  (reason === undefined ? test : test.skip)(
    'is, mounted by the kernel, what the OCI rules say',
    async () => {
      const { numRuns, seed } = stackRuns(40);
      await fc.assert(fc.asyncProperty(layerStacks(STACKS_AN_IMAGE), expectExact), {
        numRuns: Math.ceil(numRuns / STACKS_AN_IMAGE),
        seed,
      });
    },
    3_600_000,
  );
});

async function expectExact(stack: LayerStack): Promise<void> {
  await withTemporaryDirectory(async (directory) => {
    const { path } = await buildImage(directory, stack.layers);
    expect(await fileSystemFaults(path)).toBe('');
    const expected = modelTree(stack.layers, { unstatedMtime: 0n });
    const found = differences(withoutAddedMountPoints(await listImage(path), expected), expected);
    if (found.length > 0) throw new Error(`${found.join('\n')}\n${describeStack(stack)}`);
  });
}
