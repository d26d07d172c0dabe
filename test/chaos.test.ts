import { expect, test } from '@jest/globals';
import { runChaos } from '../scripts/chaos/run.ts';

/** Ms. It takes half a minute: a worker that is stopped has to lose its jobs before it wakes. */
const timeout = 240_000;

test(
  'pulls outlive everything that is done to the processes, and leave nothing behind',
  async () => {
    const report = await runChaos({ seed: 1, pulls: 30, pause: 1000, minimumMischief: 10 });
    expect(report.violations).toEqual([]);
    expect(report.accepted).toBeGreaterThan(10);
    expect(report.imagesChecked).toBeGreaterThan(0);
    // The first rounds do each piece of mischief once.
    for (const piece of ['worker killed', 'worker stopped', 'redis killed', 'everything killed']) {
      expect(report.mischief[piece]).toBeGreaterThan(0);
    }
    // Bytes that are fetched twice are counted, not limited here: a full disk frees what its task had fetched, and how much that was
    // is a matter of the moment. The tests of the worker's process hold single deaths to the byte.
  },
  timeout,
);
