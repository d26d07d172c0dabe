/** Rounds of housekeeping of a worker that runs. */

import { utimes, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '@bhatti/logging';
import { createTaskId, KEY_PREFIX, noteArrival } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { Activity } from '../activity.ts';
import { collectUploads } from '../housekeeping/collect-uploads.ts';
import { Housekeeping } from '../housekeeping/housekeeping.ts';
import { createPullServices } from '../services.ts';
import { startStack, type TestStack } from './support/stack.ts';

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => stack.close());

test('one comes after the other, however long each takes, and a worker that ends waits for the last', async () => {
  let [begun, ended, most] = [0, 0, 0];
  jest.spyOn(stack.store, 'collectOrphans').mockImplementation(async () => {
    begun += 1;
    most = Math.max(most, begun - ended);
    // Longer than the time between two.
    await sleep(50);
    ended += 1;
  });
  const worker = await stack.startWorker({ housekeepingInterval: 5 });
  expect(ended).toBeGreaterThan(0);
  const before = begun;
  await eventually(() => begun >= before + 2);
  await worker.close();
  expect([ended, most]).toEqual([begun, 1]);
});

test('rounds that take longer than the time between them do not pile up: who ends waits for one only', async () => {
  const { store, connection } = stack;
  const isLive = async () => false;
  const logger = createLogger({ name: 'worker', level: 'silent' });
  const worker = { redis: connection, isLive, activity: new Activity(), stopping: AbortSignal.abort() };
  const housekeeping = new Housekeeping({ services: createPullServices({ store, logger }, worker), isLive });
  let begun = 0;
  let stopped: Promise<void> | undefined;
  jest.spyOn(store, 'collectOrphans').mockImplementation(async () => {
    begun += 1;
    if (begun !== 2) return;
    // Ten are due meanwhile.
    for (let due = 0; due < 10; due += 1) await sleep(5);
    stopped = housekeeping.stop();
  });
  await housekeeping.start(5);
  await eventually(() => stopped !== undefined);
  await stopped;
  expect(begun).toBe(2);
});

test('a step that fails keeps none of the others from being done, nor the worker from its start', async () => {
  const upload = createTaskId();
  await writeFile(stack.store.uploads.path(upload), 'nobody wants it');
  const partial = stack.store.partials.path(`sha256:${'a'.repeat(64)}`);
  await stack.store.partials.prepare();
  await writeFile(partial, 'nobody has continued it for a week');
  const long = new Date(Date.now() - 8 * 24 * 3600_000);
  await utimes(partial, long, long);
  jest.spyOn(stack.store, 'collectOrphans').mockRejectedValue(new Error('the disk does not list it'));
  const worker = await stack.startWorker();
  expect(await stack.leftovers()).toEqual([]);
  expect(stack.log()).toContain('the disk does not list it');
  await worker.close();
});

test('an upload whose task is about to come stays until it could not any more', async () => {
  const upload = createTaskId();
  await noteArrival(stack.connection, upload);
  await writeFile(stack.store.uploads.path(upload), 'its task is on the way');
  const first = await stack.startWorker();
  expect(await stack.store.uploads.list()).toEqual([upload]);
  await first.close();
  await stack.connection.del(`${KEY_PREFIX}:arriving:${upload}`);
  await stack.startWorker();
  expect(await stack.store.uploads.list()).toEqual([]);
});

test('one whose task is queued just between two questions stays', async () => {
  const upload = createTaskId();
  await writeFile(stack.store.uploads.path(upload), 'its task is there now');
  let isQueued = false;
  // Whatever is asked first still sees the time before.
  const ask = (answer: (queued: boolean) => boolean) => async () => {
    const seen = answer(isQueued);
    isQueued = true;
    return seen;
  };
  await collectUploads(stack.store, { isArriving: ask((queued) => !queued), isLive: ask((queued) => queued) });
  expect(await stack.store.uploads.list()).toEqual([upload]);
});
