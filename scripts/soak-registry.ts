/**
 * Pulls images of random shapes from registries that fail at random, many at a time with one client. Checks that each pull ends with
 * the right bytes or the right error, and that no socket, file or memory leaks.
 *
 *     npx tsx scripts/soak-registry.ts [--pulls 200] [--seed N] [--lanes 4]
 *
 * Prints what was done and found; exits with 1 if anything was wrong. The same seed plans the same pulls and faults.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { createRegistryClient } from '../libs/oci/index.ts';
import { Random } from './random.ts';
import { measureFootprint, memoryInUse } from './soak/footprint.ts';
import { clearLane, closeLane, openLanes } from './soak/lane.ts';
import { planPull } from './soak/planned-pull.ts';
import { checkedPull } from './soak/pull.ts';
import { Tally } from './soak/tally.ts';

const { values } = parseArgs({
  options: { pulls: { type: 'string' }, seed: { type: 'string' }, lanes: { type: 'string' } },
});
const whole = z.coerce.number().int().min(0);
const pulls = whole.default(200).parse(values.pulls);
const seed = whole.default(Date.now() % 1_000_000).parse(values.seed);
const laneCount = whole.min(1).default(4).parse(values.lanes);

/** More than the faults planned for any one path, so that only lasting ones fail a pull. */
const ATTEMPTS = 10;
const STALL_MS = 250;
/** Bytes by which heap and buffers may have grown at the end since the first tenth of the pulls. */
const MEMORY_ALLOWANCE = 8 * 1024 * 1024;

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

const startedAt = performance.now();
const before = await measureFootprint();
const tally = new Tally();
const lanes = await openLanes(laneCount);
const client = createRegistryClient({
  stallTimeoutMs: STALL_MS,
  connectionsPerHost: 4,
  retry: { attempts: ATTEMPTS, baseDelayMs: 1, maxDelayMs: 8 },
  onRetry: ({ error }) => tally.retries.add(error.code),
});

/** Runs the pulls from `first` to before `end`. Each has a fixed lane, whatever the timing, so that a seed repeats its run. */
async function run(first: number, end: number): Promise<void> {
  await Promise.all(
    lanes.map(async (lane, position) => {
      for (let number = first; number < end; number += 1) {
        if (number % laneCount !== position) continue;
        const planned = planPull(new Random(seed * 100_003 + number), lane);
        await checkedPull(client, lane, planned, `pull ${number}`, tally);
      }
      clearLane(lane);
    }),
  );
}

const tenth = Math.ceil(pulls / 10);
await run(0, tenth);
const warm = await memoryInUse();
await run(tenth, pulls);
const end = await memoryInUse();
const peak = Math.max(...lanes.map(({ registry }) => registry.connections().peak));
await client.close();
for (const lane of lanes) await closeLane(lane);
await sleep(100);
const after = await measureFootprint();

const { violations } = tally;
if (end - warm > MEMORY_ALLOWANCE) violations.push(`memory grew from ${megabytes(warm)} to ${megabytes(end)}`);
if (after.sockets > before.sockets) violations.push('sockets stayed behind');
if (after.files > before.files) violations.push('open files stayed behind');

console.log(`seed ${seed}: ${pulls} pulls in ${((performance.now() - startedAt) / 1000).toFixed(1)} s
completed with the right bytes: ${tally.completed} (${megabytes(tally.bytes)}, ${tally.requests} requests)
refused: ${tally.refused}
attempts that failed and were made again: ${tally.retries}
layers whose bytes came wrong and were fetched again: ${tally.refetched}
memory: ${megabytes(warm)} after a tenth, ${megabytes(end)} at the end
most connections to one registry: ${peak}
sockets: ${before.sockets} before, ${after.sockets} after; open files: ${before.files} before, ${after.files} after
violations: ${violations.length}`);
for (const violation of violations) console.log(`  ${violation}`);
process.exitCode = violations.length === 0 ? 0 : 1;
