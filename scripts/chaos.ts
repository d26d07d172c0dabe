/**
 * `npm run chaos`: pulls and imports while processes are killed and stopped, Redis dies and the disk fills; then checks what is left.
 *
 *   npm run chaos -- [--seed 1] [--tasks 200] [--minutes 60]
 *
 * --minutes runs seed after seed until the time is over. Filling the disk takes root, to mount a small tmpfs.
 */
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { runChaos } from './chaos/run.ts';

const { values } = parseArgs({
  options: { seed: { type: 'string' }, tasks: { type: 'string' }, minutes: { type: 'string' } },
});
const whole = z.coerce.number().int().min(0);
const first = whole.default(1).parse(values.seed);
const tasks = whole.default(200).parse(values.tasks);
const deadline = Date.now() + z.coerce.number().min(0).default(0).parse(values.minutes) * 60_000;

let failed = false;
for (let seed = first; seed === first || Date.now() < deadline; seed += 1) {
  const started = performance.now();
  const report = await runChaos({
    seed,
    tasks,
    pause: 2000,
    minimumMischief: 10,
    diskBytes: 1_500_000_000,
    workers: 3,
    onEvent: (line) => console.error(`${((performance.now() - started) / 1000).toFixed(1)} s: ${line}`),
  });
  const { violations, ...counts } = report;
  console.log(`seed ${seed}: ${JSON.stringify(counts, null, 2)}`);
  for (const violation of violations) console.log(`VIOLATION (seed ${seed}): ${violation}`);
  failed ||= violations.length > 0;
}
process.exit(failed ? 1 : 0);
