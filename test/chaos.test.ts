import { expect, test } from '@jest/globals';
import { runChaos } from '../scripts/chaos/run.ts';

/** Ms. It takes half a minute: a worker that is stopped has to lose its jobs before it wakes. */
const timeout = 240_000;
/** Of mischief: each is done once. `npm run chaos` does more, to more workers. */
const PIECES = 11;

test(
  'pulls and imports outlive everything that is done to the processes, and leave nothing behind',
  async () => {
    const report = await runChaos({
      seed: 1,
      tasks: 16,
      pause: 1000,
      minimumMischief: PIECES,
      maximumMischief: PIECES,
      diskBytes: 400_000_000,
      workers: 2,
    });
    expect(report.violations).toEqual([]);
    expect(report.accepted.pull).toBeGreaterThan(8);
    // Of four that are requested, as a full disk refuses some.
    expect(report.accepted.import).toBeGreaterThan(0);
    expect(report.imagesChecked).toBeGreaterThan(0);
    // Tasks were under way when their workers died.
    expect(report.takeovers).toBeGreaterThan(0);
    // Each piece of mischief is done once, also those that are not named here.
    for (const piece of [
      'worker killed',
      'worker stopped',
      'redis killed',
      'everything killed',
      'image deleted, and all pruned',
    ]) {
      expect(report.mischief[piece]).toBeGreaterThan(0);
    }
    // Also among the violations. Bytes that a full disk, a cancelled task or a prune freed may be fetched again, and those that a
    // worker requests as it wakes; they are counted separately.
    expect(report.bytesTwice.withoutReason).toBe(0);
  },
  timeout,
);
