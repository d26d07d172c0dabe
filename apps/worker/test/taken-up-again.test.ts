/**
 * A task that its worker has lost and takes up again itself, before the run that lost it has ended. That happens to a lone worker
 * on a machine that slept for longer than a lock lasts.
 */
import { randomBytes } from 'node:crypto';
import { cancelTask, QUEUE_NAME, queueKey, workerOptions } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Worker } from 'bullmq';
import { eventually } from '../../../test/support/eventually.ts';
import type { RunningWorker } from '../worker.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const SIZE = 4_000_000;

let stack: TestStack;
let worker: RunningWorker;

beforeAll(async () => {
  stack = await startStack();
  worker = await stack.startWorker({ concurrency: 2 });
});
afterAll(() => stack.close());

/** A task in its second run, after the first has ended. Its download stalls. */
async function takenUpAgain(): Promise<string> {
  const tar = await layerTar([{ name: 'f', content: randomBytes(SIZE) }]);
  const { reference, layers } = stack.registry.pushImage({ repository: 'library/app', layers: [{ tar }] });
  const [layer] = layers;
  stack.registry.plan({ path: layer?.digest ?? '', stallAfter: SIZE / 4 });
  const before = stack.log().length;
  const log = () => stack.log().slice(before);
  const id = await stack.enqueue({ reference, name: 'app' });
  await eventually(async () => (await stack.store.partials.size(layer?.digest ?? '')) > 0);
  await loseLock(id);
  // The first run looks for its lock every two seconds. Then BullMQ refuses its end.
  await eventually(() => log().includes('the job was taken over by another worker'));
  await eventually(() => log().includes('Lock mismatch'));
  return id;
}

/** Removes the lock, as if it had run out, unless the job has been returned already (which counts as a death of its worker). */
const RUN_OUT = `
if redis.call('HGET', KEYS[1], 'stc') then return 1 end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('SADD', KEYS[4], ARGV[1])
return 0`;

/** Lets the lock run out; the next check returns the job to the queue. */
async function loseLock(id: string): Promise<void> {
  const keys = [id, `${id}:lock`, 'stalled-check', 'stalled'].map(queueKey);
  const looker = new Worker(QUEUE_NAME, null, workerOptions({ connection: stack.connection }));
  await looker.startStalledCheckTimer();
  await eventually(async () => (await stack.connection.eval(RUN_OUT, keys.length, ...keys, id)) === 1);
  await looker.close();
}

test('is cancelled at once', async () => {
  const id = await takenUpAgain();
  expect(await stack.view(id)).toMatchObject({ status: 'running' });
  await cancelTask(stack.queue, stack.relay, id);
  expect(await stack.ended(id)).toMatchObject({ status: 'cancelled' });
  expect(await stack.leftovers()).toEqual([]);
});

test('is handed back at once when the worker stops', async () => {
  const id = await takenUpAgain();
  await worker.close();
  expect(await stack.view(id)).toMatchObject({ status: 'queued' });
  expect((await stack.queue.getJobLogs(id)).logs.at(-1)).toContain('handed back');
});
