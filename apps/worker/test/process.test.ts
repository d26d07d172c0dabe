import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTaskId, queueKey, workerOptions } from '@bhatti/tasks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ownIdentity } from '../../../libs/store/process-identity.ts';
import { temporaryName } from '../../../libs/store/temporary-name.ts';
import { eventually } from '../../../test/support/eventually.ts';
import type { PushedImage } from '../../../test/support/registry.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';
import type { WorkerProcess } from './support/worker-process.ts';

const SIZE = 4_000_000;
/** Bytes that are there when the worker is stopped. */
const SENT = 1_000_000;

let stack: TestStack;
/** One that the test before left running. */
let left: WorkerProcess | undefined;

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

/** A worker that takes pulls: starting one costs half a second of CPU time. */
async function anyWorker(): Promise<WorkerProcess> {
  const found = left ?? (await stack.startWorkerProcess());
  left = undefined;
  return found;
}

/** Where each request for the blob began. */
function requestedFrom(blob: string): number[] {
  const requests = stack.registry.requests.filter(({ path }) => path.endsWith(blob));
  return requests.map(({ range }) => Number(/^bytes=([0-9]+)-$/.exec(range ?? 'bytes=0-')?.[1]));
}

describe('a worker process', () => {
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

  test('killed in the middle of a download: another takes over within 15 s, from the bytes that are there', async () => {
    const image = await stallingImage('killed');
    const victim = await anyWorker();
    const id = await pullPartly(image, 'killed');
    const successor = await stack.startWorkerProcess();
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
    // The folders that the dead one was filling go when the next worker starts.
    await successor.end('SIGTERM');
    left = await stack.startWorkerProcess();
    expect(await stack.leftovers()).toEqual([]);
  });

  test.each([
    { what: 'told to end', end: 'SIGTERM' as const },
    { what: 'whose supervisor has died', end: 'disconnect' as const },
  ])('$what hands its pull back at once, which is no used attempt', async ({ end }) => {
    const image = await stallingImage(end.toLowerCase());
    const first = await anyWorker();
    const id = await pullPartly(image, end);
    left = await stack.startWorkerProcess();
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
    const worker = await stack.startWorkerProcess({ BHATTI_HOUSEKEEPING_SECONDS: '1' });
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
