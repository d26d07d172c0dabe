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
    // What was on its way when a process died; a full disk also frees what its task had fetched.
    expect(report.bytesTwice).toBeLessThan(report.bytesSent / 4);
  },
  timeout,
);
