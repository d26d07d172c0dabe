import { beforeAll, test } from '@jest/globals';
import fc from 'fast-check';
import { layerStacks, stackRuns } from './support/arbitrary-layers.ts';
import { expectExact } from './support/expect-exact.ts';
import { requireMounts } from './support/mounted.ts';

/** Stacks in one image, so that mke2fs, e2fsck and the mount are paid for once in so many. */
const STACKS_AN_IMAGE = 500;

beforeAll(requireMounts);

test('an image of random layers is, mounted by the kernel, what the OCI rules say', async () => {
  const { numRuns, seed } = stackRuns(1000);
  await fc.assert(fc.asyncProperty(layerStacks(STACKS_AN_IMAGE), expectExact), {
    numRuns: Math.ceil(numRuns / STACKS_AN_IMAGE),
    seed,
    // To shrink a counter-example of so many stacks takes long: scripts/fuzz-rootfs.ts does it with fewer.
    endOnFailure: true,
  });
}, 3_600_000);
