/**
 * Builds and mounts random stacks of layers, and compares them with the model of the OCI rules:
 *
 *     npx tsx scripts/fuzz-rootfs.ts --runs 1000 [--seed N] [--stacks 10] [--umoci]
 *
 * `--runs` counts stacks, of which `--stacks` go into one image; `--umoci` compares the model with umoci instead. Prints the seed
 * first, and a shrunk counterexample if there is one. Needs root (loop mounts) and `npm run build`.
 */
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { layerStack, layerStacks } from '../libs/rootfs/test/support/arbitrary-layers.ts';
import { expectModelAsUmoci } from '../libs/rootfs/test/support/expect-as-umoci.ts';
import { expectExact } from '../libs/rootfs/test/support/expect-exact.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    stacks: { type: 'string', default: '10' },
    umoci: { type: 'boolean', default: false },
  },
});
const stacks = values.umoci ? 1 : Number(values.stacks);
const parameters = { numRuns: Math.ceil(Number(values.runs) / stacks), seed: Number(values.seed) };
process.stdout.write(`${parameters.numRuns * stacks} stacks, --seed ${parameters.seed}\n`);

const property = values.umoci
  ? fc.asyncProperty(layerStack, expectModelAsUmoci)
  : fc.asyncProperty(layerStacks(stacks), expectExact);
await fc.assert(property, parameters);
process.stdout.write('no difference\n');
