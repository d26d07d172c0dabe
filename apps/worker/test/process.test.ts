import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import {
  createTaskId,
  KEY_PREFIX,
  layerLease,
  liveTask,
  queueKey,
  readWorkerMetrics,
  TaskClaims,
  workerOptions,
} from '@bhatti/tasks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ownIdentity } from '../../../libs/store/process-identity.ts';
import { temporaryName } from '../../../libs/store/temporary-name.ts';
import { imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { type PushedImage, sha256 } from '../../../test/support/registry.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';
import type { WorkerProcess } from './support/worker-process.ts';

const SIZE = 400_000;
/** Bytes that are there when the worker is stopped. */
const SENT = 100_000;

let stack: TestStack;
/** Those that the tests before left running: starting one costs a second of CPU time. */
let running: WorkerProcess[] = [];

beforeAll(async () => {
  stack = await startStack();
  // However long it takes to start another worker, a download that stalls does not go on by itself.
  await writeFile(join(stack.directory, 'registries.yaml'), 'stall_timeout: 3600\n');
});
afterAll(() => stack.close());

/** An image of one layer. The first request for it gets only a part, and then stalls. */
async function stallingImage(name: string): Promise<PushedImage & { readonly blob: string }> {
  const tar = await layerTar([{ name: 'f', content: randomBytes(SIZE) }]);
  const image = stack.registry.pushImage({ repository: `library/${name}`, layers: [{ tar }] });
  const blob = image.layers[0]?.digest ?? '';
  stack.registry.plan({ path: blob, stallAfter: SENT, times: 1 });
  return { ...image, blob };
}

/** Enqueues a pull of the image, and waits until what the registry sends of the layer is there. */
async function pullPartly(image: PushedImage & { readonly blob: string }, name: string): Promise<string> {
  const id = await stack.enqueue({ reference: image.reference, name });
  await eventually(async () => (await stack.store.partials.size(image.blob)) === SENT);
  return id;
}

async function startAnother(env: NodeJS.ProcessEnv = {}): Promise<WorkerProcess> {
  const started = await stack.startWorkerProcess(env);
  running.push(started);
  return started;
}

/** The one that has begun the task, which counts as running no more: the test ends it. */
async function holderOf(id: string): Promise<WorkerProcess> {
  const holder = await eventually(() => running.find((worker) => worker.output().includes(id)));
  running = running.filter((worker) => worker !== holder);
  return holder;
}

/** Root filesystems that the workers have built so far. */
async function builds(): Promise<number> {
  const samples = (await readWorkerMetrics(stack.connection)).flatMap((family) => family.samples);
  return samples.find(({ name }) => name === 'bhatti_rootfs_build_seconds_count')?.value ?? 0;
}

/** Where each request for the blob began. */
function requestedFrom(blob: string): number[] {
  const requests = stack.registry.requests.filter(({ path }) => path.endsWith(blob));
  return requests.map(({ range }) => Number(/^bytes=([0-9]+)-$/.exec(range ?? 'bytes=0-')?.[1]));
}

describe('a worker process', () => {
  test('does not start with an argument', () => {
    const program = fileURLToPath(new URL('../../../dist/worker.js', import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [program, '--concurrency=4'], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr:
        'bhatti worker: no arguments are taken; the settings are environment variables, such as BHATTI_CONCURRENCY\n',
    });
  });

  test('pulls, and ends in order, although its log cannot be written', async () => {
    const image = stack.registry.pushImage({
      repository: 'library/unlogged',
      layers: [{ tar: await layerTar([{ name: 'f', content: 'unlogged' }]) }],
    });
    const full = await open('/dev/full', 'w');
    try {
      const worker = await stack.startWorkerProcess({}, full.fd);
      const view = await stack.pull({ reference: image.reference, name: 'unlogged' });
      expect(view).toMatchObject({ status: 'completed', error: null });
      expect(await worker.end('SIGTERM')).toBe(0);
    } finally {
      await full.close();
    }
  });

  test('and another fetch each layer once, and build each root filesystem once', async () => {
    const layer = async (name: string) => ({ tar: await layerTar([{ name, content: randomBytes(200_000) }]) });
    const base = await layer('base');
    const images = await Promise.all(
      [0, 1].map(async (i) =>
        stack.registry.pushImage({ repository: `library/shared${i}`, layers: [base, await layer(`own${i}`)] }),
      ),
    );
    // Slow enough that both of them want the base at the same time.
    stack.registry.plan({ path: '/blobs/', bytesPerSecond: 200_000 });
    await Promise.all([startAnother(), startAnother()]);
    const builtBefore = await builds();
    const ids: string[] = [];
    for (const [i, { reference }] of images.entries()) {
      for (const name of ['a', 'b', 'c']) ids.push(await stack.enqueue({ reference, name: `${name}${i}` }));
    }
    for (const id of ids) expect((await stack.ended(id)).status).toBe('completed');
    stack.registry.clearFaults();
    const layers = new Set(images.flatMap((image) => image.layers.map(({ digest }) => digest)));
    const fetched = stack.blobsFetched().filter((digest) => layers.has(digest));
    expect(fetched.sort()).toEqual([...layers].sort());
    expect((await builds()) - builtBefore).toBe(images.length);
    for (const worker of running) expect(ids.filter((id) => worker.output().includes(id))).not.toEqual([]);
    expect(await stack.leftovers()).toEqual([]);
  });

  test('killed in the middle of a download: another takes over within 15 s, from the bytes that are there', async () => {
    const image = await stallingImage('killed');
    const id = await pullPartly(image, 'killed');
    const victim = await holderOf(id);
    expect(running).toHaveLength(1);
    await victim.end('SIGKILL');
    // Another has it once the lock has run out, and at the next check for jobs without one.
    const { lockDuration = 0, stalledInterval = 0 } = workerOptions({ connection: stack.connection, concurrency: 1 });
    expect(lockDuration + stalledInterval).toBeLessThan(15_000);
    expect(await stack.connection.pttl(queueKey(`${id}:lock`))).toBeLessThanOrEqual(lockDuration);
    const untilCheck = await eventually(async () => {
      const ms = await stack.connection.pttl(queueKey('stalled-check'));
      return ms >= 0 && ms;
    });
    expect(untilCheck).toBeLessThanOrEqual(stalledInterval);
    const seen = new Set<string>();
    await eventually(async () => {
      seen.add((await stack.view(id)).status);
      await sleep(100);
      return requestedFrom(image.blob).length > 1;
    });
    expect(await stack.ended(id)).toMatchObject({ status: 'completed', result: { digest: image.digest } });
    for (const status of seen) expect(['queued', 'running']).toContain(status);
    expect(requestedFrom(image.blob)).toEqual([0, SENT]);
    expect(await stack.job(id)).toMatchObject({ attemptsMade: 1, stalledCounter: 1 });
    expect((await stack.queue.getJobLogs(id)).logs).toContainEqual(
      expect.stringMatching(/attempt 1 of 3 .* its worker died or hung 1 time$/),
    );
    // Nor is it noted for ever who died.
    await eventually(async () => (await stack.connection.exists(`${KEY_PREFIX}:begun:${id}`)) === 0);
    // The folders that the dead one was filling go when the next worker starts.
    expect(await stack.leftovers()).not.toEqual([]);
    await startAnother();
    expect(await stack.leftovers()).toEqual([]);
  });

  test('killed while it imports: another takes over, finds the upload, and leaves nothing', async () => {
    const tar = await layerTar([{ name: 'f', content: 'f' }]);
    const diffId = sha256(tar);
    const archive = gzipSync(await imageArchive('docker', [{ tags: ['tool:1'], tars: [tar] }]));
    const claims = new TaskClaims(stack.connection, 'layer', liveTask(stack.queue));
    // The import has to wait for another that fetches its layer.
    const lease = `${KEY_PREFIX}:lease:${layerLease(diffId)}`;
    await stack.connection.set(lease, 'another worker');
    const id = await stack.enqueueImport({ archive, name: 'taken-over' });
    await eventually(() => claims.isWanted(diffId));
    const victim = await holderOf(id);
    await victim.end('SIGKILL');
    expect((await stack.view(id)).status).toBe('running');
    // The upload, and what the victim unpacked.
    expect((await stack.leftovers()).length).toBeGreaterThan(1);
    // Its layer must not be evicted while nobody works on the task.
    expect(await claims.isWanted(diffId)).toBe(true);
    // The lock of a killed worker expires, for which the test before waits.
    await stack.giveUpOn(id);
    await stack.connection.del(lease);
    await startAnother();
    expect(await stack.ended(id)).toMatchObject({ status: 'completed', result: { image: 'taken-over' } });
    expect((await stack.job(id)).stalledCounter).toBe(1);
    expect(await stack.leftovers()).toEqual([]);
    expect(await claims.isWanted(diffId)).toBe(false);
  });

  test.each([
    { what: 'told to end', end: 'SIGTERM' as const },
    { what: 'whose supervisor has died', end: 'disconnect' as const },
  ])('$what hands its pull back at once, which is no used attempt', async ({ end }) => {
    const image = await stallingImage(end.toLowerCase());
    const id = await pullPartly(image, end);
    const first = await holderOf(id);
    // Does housekeeping often, for the test after these.
    if (running.length === 0) await startAnother({ BHATTI_HOUSEKEEPING_SECONDS: '1' });
    expect(await (end === 'disconnect' ? first.abandon() : first.end(end))).toBe(0);
    // Nobody waits for a lock to run out, or for a delay to pass.
    expect(['waiting', 'active', 'completed']).toContain(await stack.queue.getJobState(id));
    expect(first.output()).not.toContain('stopping took too long');
    expect(await stack.ended(id)).toMatchObject({ status: 'completed', error: null });
    expect(requestedFrom(image.blob)).toEqual([0, SENT]);
    expect(await stack.job(id)).toMatchObject({ attemptsMade: 1, stalledCounter: 0 });
    const { logs } = await stack.queue.getJobLogs(id);
    expect(logs).toContainEqual(expect.stringContaining('handed back: the worker stops'));
    expect(logs.filter((line) => line.includes('attempt 1 of 3'))).toHaveLength(2);
    expect(await stack.leftovers()).toEqual([]);
  });

  test('removes what nothing owns, and syncs what it could not, while it runs, too, round after round', async () => {
    const layer = await stack.store.layers.begin(`sha256:${'a'.repeat(64)}`);
    for (const name of ['data', 'index']) await writeFile(join(layer.directory, name), name);
    await layer.publish();
    const published = stack.store.layers.directory(`sha256:${'a'.repeat(64)}`);
    // Syncing the layer fails, as it cannot open this.
    await symlink('loop', join(published, 'loop'));
    const [worker] = running;
    if (worker === undefined) throw new Error('no worker was left running');
    const long = new Date(Date.now() - 120_000);
    for (let round = 0; round < 2; round += 1) {
      const dead = { ...(await ownIdentity()), startTime: '1' };
      await mkdir(join(stack.directory, 'layers', 'sha256', temporaryName(dead)));
      const upload = stack.store.uploads.path(createTaskId());
      await writeFile(upload, 'an archive');
      await utimes(upload, long, long);
      await eventually(async () => (await stack.leftovers()).length === 0);
    }
    await eventually(() => worker.output().includes('cannot sync published files'));
    await writeFile(join(stack.directory, 'file'), '');
    await rename(join(stack.directory, 'file'), join(published, 'loop'));
    await eventually(() => !existsSync(join(published, 'unsynced')));
    await worker.end('SIGTERM');
  });
});
