/**
 * Pulls images of random shapes from registries that do wrong at random, many at a time with one client, and checks that each pull
 * ends with the right bytes or with the right error, and that no socket, file or memory stays behind.
 *
 *     npx tsx scripts/soak-registry.ts [--pulls 200] [--seed N] [--lanes 4]
 *
 * Prints what was done and found; ends with 1 when anything was wrong. The same seed plans the same pulls and faults.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  type Credentials,
  createRegistryClient,
  OciError,
  parsePlatform,
  parseReference,
  type RegistryClient,
  type ResolvedLayer,
} from '../libs/oci/index.ts';
import {
  type Fault,
  type LayerSource,
  type RegistryAuth,
  startRegistry,
  type TestRegistry,
} from '../test/support/registry.ts';
import { Random } from './random.ts';

const { values } = parseArgs({
  options: {
    pulls: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    lanes: { type: 'string', default: '4' },
  },
});
const PULLS = Number(values.pulls);
const SEED = Number(values.seed);
const LANES = Number(values.lanes);

const ALICE = { username: 'alice', password: 's3cret-pass' };
const AUTHS: readonly RegistryAuth[] = [
  { kind: 'none' },
  { kind: 'basic', ...ALICE },
  { kind: 'bearer', ...ALICE, tokenSeconds: 2 },
  { kind: 'bearer' },
];
/** More than the faults that are planned for any one path, so that only lasting ones end a pull. */
const ATTEMPTS = 10;
const FAULTS_PER_PATH = 3;
const STALL_MS = 250;
/** Bytes of heap and buffers that may be more at the end than after a first tenth of the pulls. */
const MEMORY_ALLOWANCE = 8 * 1024 * 1024;

interface Lane {
  readonly registry: TestRegistry;
  readonly storage: TestRegistry;
  readonly credentials: Credentials | undefined;
}

/** What a pull must end with: these codes, or success where there are none. */
type Expected = readonly string[];

interface Tally {
  completed: number;
  refused: Map<string, number>;
  refetched: number;
  retries: Map<string, number>;
  requests: number;
  bytes: number;
  violations: string[];
}

function randomLayer(random: Random): LayerSource {
  const limit = random.pick([600, 60_000, 600_000, 5_000_000]);
  // Half of it noise, half a pattern, so that compression has something to do.
  const tar = Buffer.alloc(random.between(512, 511 + limit));
  random.bytes(Math.floor(tar.length / 2)).copy(tar);
  const compression = random.pick(['gzip', 'gzip', 'none', 'zstd'] as const);
  return { tar, compression };
}

type PassingFault = () => Omit<Fault, 'path'>;

/** Something wrong that a client gets over. */
function passingFault(random: Random, size: number, storage: TestRegistry): Omit<Fault, 'path'> {
  const offset = random.between(0, size);
  const kinds: readonly [PassingFault, ...PassingFault[]] = [
    () => ({ cutAfter: offset }),
    () => ({ resetAfter: offset }),
    () => ({ endAfter: offset }),
    () => ({ status: random.pick([500, 502, 503, 504, 408, 429]) }),
    () => ({ status: 429, headers: { 'retry-after': random.pick(['0', '0.01', new Date(0).toUTCString()]) } }),
    () => ({ ignoreRange: true }),
    () => ({ ignoreRange: true, cutAfter: offset }),
    () => ({ shiftRange: random.pick([-3, 5]) }),
    () => ({ headers: { 'content-range': random.pick([undefined, 'nonsense', 'bytes */*']) } }),
    () => ({ headers: { etag: random.pick(['"other"', 'W/"weak"', undefined]) }, cutAfter: offset }),
    () => ({ redirect: `${storage.url}{path}?signature=secret` }),
    () => ({ redirect: `${storage.url}/expired{path}` }),
    () => ({ bytesPerSecond: 40_000_000 }),
  ];
  // These cost their time, so they are rare.
  if (random.is(0.06)) return random.pick([{ stallAfter: offset }, { hang: true }]);
  return random.pick(kinds)();
}

interface LastingFault {
  readonly expected: Expected;
  plan(lane: Lane, blob: string): void;
}

/** Something wrong that no client gets over, and what it has to say of it. */
const LASTING: readonly [LastingFault, ...LastingFault[]] = [
  lasting(['registry_error'], 'blob', { status: 404 }),
  lasting(['registry_error'], 'blob', { status: 500 }),
  lasting(['registry_error'], 'blob', { cutAfter: 0 }),
  lasting(['unauthorized'], 'blob', { status: 403 }),
  lasting(['rate_limited'], 'blob', { status: 429, headers: { 'retry-after': '7200' } }),
  lasting(['size_mismatch'], 'blob', { append: Buffer.from('more') }),
  lasting(['size_mismatch'], 'blob', {
    headers: { 'content-length': '3', 'content-range': 'bytes 0-2/3' },
    body: 'abc',
  }),
  lasting(['registry_error'], 'blob', { redirect: '{path}' }),
  lasting(['manifest_unknown'], '/manifests/', { status: 404 }),
  lasting(['unauthorized'], '/manifests/', { status: 403, error: { code: 'DENIED', message: 'no' } }),
  lasting(['invalid_manifest'], '/manifests/', { body: '<html>', headers: { 'docker-content-digest': undefined } }),
  lasting(['digest_mismatch'], '/manifests/', { headers: { 'docker-content-digest': `sha256:${'0'.repeat(64)}` } }),
  lasting(['registry_error'], '/manifests/', { status: 503 }),
];

function lasting(expected: Expected, where: string, fault: Omit<Fault, 'path'>): LastingFault {
  return {
    expected,
    plan: ({ registry, storage }, blob) => {
      const path = where === 'blob' ? `/blobs/${blob}` : where;
      for (const host of [registry, storage]) host.plan({ path, ...fault });
    },
  };
}

interface PlannedPull {
  readonly reference: string;
  readonly blobs: ReadonlyMap<string, Buffer>;
  readonly expected: Expected;
  readonly cancelAfter: number | undefined;
}

/** Puts an image into the lane's registry, and faults in its way. */
function planPull(random: Random, lane: Lane): PlannedPull {
  const { registry, storage } = lane;
  for (const host of [registry, storage]) host.clear();
  const layers = Array.from({ length: random.between(0, 6) }, () => randomLayer(random));
  const repository = `soak/${random.pick(['one', 'two', 'three'])}`;
  const image = registry.pushImage({ repository, layers });
  const others = ['s390x', 'riscv64'].map(
    (architecture) =>
      registry.pushImage({ repository, tag: architecture, layers: [], platform: { architecture } }).descriptor,
  );
  if (random.is(0.5)) registry.pushIndex(repository, 'latest', [...others, image.descriptor]);
  const blobs = new Map<string, Buffer>();
  for (const [position, { tar, compression }] of layers.entries()) {
    const descriptor = image.layers[position];
    if (descriptor === undefined) continue;
    const bytes = registry.blob(descriptor.digest);
    if (bytes === undefined) throw new Error(`${compression} layer of ${tar.length} bytes is not there`);
    blobs.set(descriptor.digest, bytes);
    storage.putBlob(bytes);
  }
  storage.putBlob(registry.blob(image.manifest.config.digest) ?? Buffer.alloc(0));

  const [firstBlob = image.manifest.config.digest] = blobs.keys();
  const lastingFault = random.is(0.25) ? random.pick(LASTING) : undefined;
  // The first fault that matches strikes, so this one is not hidden by those that pass.
  lastingFault?.plan(lane, firstBlob);

  const paths: [string, number][] = [...blobs].map(([digest, bytes]) => [`/blobs/${digest}`, bytes.length]);
  paths.push([`/blobs/${image.manifest.config.digest}`, image.manifest.config.size], ['/token', 10]);
  for (const [path, size] of paths) {
    for (let count = random.between(0, FAULTS_PER_PATH); count > 0; count -= 1) {
      const fault = passingFault(random, size, storage);
      const isData = path.startsWith('/blobs/') && blobs.has(path.slice('/blobs/'.length));
      // Small documents are either there or not; what only a ranged blob can survive is kept from them.
      const isFit =
        isData || fault.status !== undefined || fault.cutAfter !== undefined || fault.resetAfter !== undefined;
      if (isFit && (isData || fault.redirect === undefined)) registry.plan({ path, ...fault, times: 1 });
    }
    if (random.is(0.2)) storage.plan({ path, cutAfter: random.between(0, size), times: 1 });
  }
  const reference = image.reference;
  if (lastingFault === undefined && random.is(0.1))
    return { reference, blobs, expected: ['cancelled'], cancelAfter: random.between(0, 29) };
  if (lastingFault !== undefined) return { reference, blobs, expected: lastingFault.expected, cancelAfter: undefined };
  if (random.is(0.05))
    return { reference: `${image.reference}-none`, blobs, expected: ['manifest_unknown'], cancelAfter: undefined };
  const [corrupt] = blobs;
  if (corrupt !== undefined && random.is(0.15)) {
    const [digest, bytes] = corrupt;
    registry.plan({ path: `/blobs/${digest}`, corruptAt: random.between(0, bytes.length - 1), times: 1 });
  }
  return { reference, blobs, expected: [], cancelAfter: undefined };
}

/** Fetches a layer as a worker does: bytes that turn out wrong are dropped and fetched once more. */
async function fetchLayer(
  client: RegistryClient,
  reference: string,
  { descriptor }: ResolvedLayer,
  options: { path: string; credentials: Credentials | undefined; signal: AbortSignal },
  tally: Tally,
): Promise<Buffer> {
  for (let again = false; ; again = true) {
    await client.download(parseReference(reference), descriptor, options.path, options);
    const bytes = await readFile(options.path);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    if (digest === descriptor.digest) return bytes;
    if (again) throw new Error(`${descriptor.digest} came wrong twice`);
    tally.refetched += 1;
    await rm(options.path);
  }
}

async function pull(
  client: RegistryClient,
  lane: Lane,
  planned: PlannedPull,
  directory: string,
  tally: Tally,
): Promise<void> {
  const cancel = new AbortController();
  const timer =
    planned.cancelAfter === undefined
      ? undefined
      : setTimeout(() => cancel.abort(new Error('by plan')), planned.cancelAfter);
  const options = { credentials: lane.credentials, signal: cancel.signal };
  try {
    const image = await client.resolve(parseReference(planned.reference), { ...options, platform: HOST });
    const results = await Promise.allSettled(
      image.layers.map(async (layer, position) => {
        const path = join(directory, `${position}`);
        const bytes = await fetchLayer(client, planned.reference, layer, { ...options, path }, tally);
        const pushed = planned.blobs.get(layer.descriptor.digest);
        if (pushed === undefined || !bytes.equals(pushed))
          throw new Error(`${layer.descriptor.digest} has wrong bytes`);
        tally.bytes += bytes.length;
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  } finally {
    clearTimeout(timer);
  }
}

async function checkedPull(
  client: RegistryClient,
  lane: Lane,
  planned: PlannedPull,
  label: string,
  tally: Tally,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-soak-'));
  const { expected } = planned;
  try {
    await pull(client, lane, planned, directory, tally);
    tally.completed += 1;
    // A cancellation may come too late, and a fault of a layer strikes nothing where there is no layer.
    const mayComplete = expected.length === 0 || expected.includes('cancelled') || planned.blobs.size === 0;
    if (!mayComplete) tally.violations.push(`${label}: completed, but should have been ${expected.join(' or ')}`);
  } catch (error) {
    const code = error instanceof OciError ? error.code : 'no OciError';
    tally.refused.set(code, (tally.refused.get(code) ?? 0) + 1);
    const text = error instanceof Error ? error.message : String(error);
    if (!expected.includes(code))
      tally.violations.push(`${label}: ${code} (${text}), not ${expected.join(' or ') || 'success'}`);
    if (/secret|s3cret/.test(text)) tally.violations.push(`${label}: the error tells a secret: ${text}`);
  } finally {
    tally.requests += lane.registry.requests.length + lane.storage.requests.length;
    await rm(directory, { recursive: true, force: true });
  }
}

setFlagsFromString('--expose-gc');
const collectGarbage: unknown = runInNewContext('gc');

async function memoryInUse(): Promise<number> {
  for (let round = 0; round < 5; round += 1) {
    if (typeof collectGarbage === 'function') collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

async function openFiles(): Promise<number | undefined> {
  return readdir('/proc/self/fd').then(
    (names) => names.length,
    () => undefined,
  );
}

const sockets = (): number => process.getActiveResourcesInfo().filter((name) => /TCP|TLS/.test(name)).length;
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
const counts = (map: ReadonlyMap<string, number>): string =>
  [...map]
    .sort()
    .map(([name, count]) => `${name} ${count}`)
    .join(', ') || 'none';

const HOST = parsePlatform('linux');

async function main(): Promise<number> {
  const startedAt = performance.now();
  const before = { sockets: sockets(), files: await openFiles() };
  const tally: Tally = {
    completed: 0,
    refused: new Map(),
    refetched: 0,
    retries: new Map(),
    requests: 0,
    bytes: 0,
    violations: [],
  };
  const lanes: Lane[] = [];
  for (let lane = 0; lane < LANES; lane += 1) {
    const auth = AUTHS[lane % AUTHS.length] ?? { kind: 'none' };
    const credentials = auth.kind !== 'none' && auth.username !== undefined ? ALICE : undefined;
    lanes.push({ registry: await startRegistry({ auth }), storage: await startRegistry(), credentials });
  }
  const client = createRegistryClient({
    stallTimeoutMs: STALL_MS,
    connectionsPerHost: 4,
    retry: { attempts: ATTEMPTS, baseDelayMs: 1, maxDelayMs: 8 },
    onRetry: ({ error }) => tally.retries.set(error.code, (tally.retries.get(error.code) ?? 0) + 1),
  });
  // Each pull has its lane, whatever the timing, so that a seed is the same run again.
  const run = (first: number, end: number): Promise<unknown> =>
    Promise.all(
      lanes.map(async (lane, position) => {
        for (let number = first; number < end; number += 1) {
          if (number % LANES !== position) continue;
          const planned = planPull(new Random(SEED * 100_003 + number), lane);
          await checkedPull(client, lane, planned, `pull ${number}`, tally);
        }
        for (const host of [lane.registry, lane.storage]) host.clear();
      }),
    );

  const tenth = Math.ceil(PULLS / 10);
  await run(0, tenth);
  const warm = await memoryInUse();
  await run(tenth, PULLS);
  const end = await memoryInUse();
  if (end - warm > MEMORY_ALLOWANCE) tally.violations.push(`memory grew from ${megabytes(warm)} to ${megabytes(end)}`);
  const peak = Math.max(...lanes.map(({ registry }) => registry.connections().peak));
  await client.close();
  for (const { registry, storage } of lanes) for (const host of [registry, storage]) await host.close();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const after = { sockets: sockets(), files: await openFiles() };
  if (after.sockets > before.sockets)
    tally.violations.push(`sockets: ${before.sockets} before, ${after.sockets} after`);
  if (before.files !== undefined && after.files !== undefined && after.files > before.files)
    tally.violations.push(`open files: ${before.files} before, ${after.files} after`);

  console.log(`seed ${SEED}: ${PULLS} pulls in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  console.log(
    `completed with the right bytes: ${tally.completed} (${megabytes(tally.bytes)}, ${tally.requests} requests)`,
  );
  console.log(`refused: ${counts(tally.refused)}`);
  console.log(`attempts that failed and were made again: ${counts(tally.retries)}`);
  console.log(`layers whose bytes came wrong and were fetched again: ${tally.refetched}`);
  console.log(`memory: ${megabytes(warm)} after a tenth, ${megabytes(end)} at the end`);
  console.log(`most connections to one registry: ${peak}`);
  console.log(
    `sockets: ${before.sockets} before, ${after.sockets} after; open files: ${before.files} before, ${after.files} after`,
  );
  console.log(`violations: ${tally.violations.length}`);
  for (const violation of tally.violations) console.log(`  ${violation}`);
  return tally.violations.length === 0 ? 0 : 1;
}

process.exitCode = await main();
