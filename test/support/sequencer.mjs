import { relative } from 'node:path';
import TestSequencer from '@jest/test-sequencer';

/**
 * The files that take longest, the longest first. Jest begins with what took longest the last time, and in a fresh checkout with
 * what has the most lines: then the longest come when nothing is left to run beside them. A plain module, as jest itself loads it.
 */
const longest = [
  'test/pull.test.ts',
  'libs/rootfs/test/kernel-model.test.ts',
  'test/transcripts/prose.test.ts',
  'test/transcripts/piped.test.ts',
  'apps/worker/test/process.test.ts',
  'test/chaos.test.ts',
  'libs/rootfs/test/kernel-tree.test.ts',
  'test/secrets.test.ts',
  'apps/cli/test/serve.test.ts',
  'libs/tasks/test/takeover.test.ts',
  'apps/worker/test/import-takeover.test.ts',
  'apps/api/test/process.test.ts',
  'test/transcripts/terminal.test.ts',
  'test/cluster.test.ts',
];

/** Where it stands among these; behind them all when it is none. */
function rank({ path, context }) {
  const index = longest.indexOf(relative(context.config.rootDir, path));
  return index < 0 ? longest.length : index;
}

export default class extends TestSequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    if (tests.some((test) => this.time(test) !== undefined)) return sorted;
    return sorted.sort((one, other) => rank(one) - rank(other));
  }
}
