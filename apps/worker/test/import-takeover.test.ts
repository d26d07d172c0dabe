import { gzipSync } from 'node:zlib';
import { KEY_PREFIX, layerLease, liveTask, TaskClaims } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { sha256 } from '../../../test/support/registry.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

test('an import whose worker is killed is taken over by another, which finds the upload and leaves nothing', async () => {
  const tar = await layerTar([{ name: 'f', content: 'f' }]);
  const diffId = sha256(tar);
  const archive = gzipSync(await imageArchive('docker', [{ tags: ['tool:1'], tars: [tar] }]));
  const claims = new TaskClaims(stack.connection, 'layer', liveTask(stack.queue));
  // The import has to wait for another that fetches its layer.
  const lease = `${KEY_PREFIX}:lease:${layerLease(diffId)}`;
  await stack.connection.set(lease, 'another worker');
  const victim = await stack.startWorkerProcess();
  const id = await stack.enqueueImport({ archive, name: 'taken-over' });
  await eventually(() => claims.isWanted(diffId));
  await victim.end('SIGKILL');
  expect((await stack.view(id)).status).toBe('running');
  // The upload, and what the victim unpacked.
  expect((await stack.leftovers()).length).toBeGreaterThan(1);
  // Its layer must not be evicted while nobody works on the task.
  expect(await claims.isWanted(diffId)).toBe(true);
  // The lock of a killed worker expires, for which process.test.ts waits.
  await stack.giveUpOn(id);
  await stack.connection.del(lease);
  await stack.startWorkerProcess();
  expect(await stack.ended(id)).toMatchObject({ status: 'completed', result: { image: 'taken-over' } });
  expect((await stack.job(id)).stalledCounter).toBe(1);
  expect(await stack.leftovers()).toEqual([]);
  expect(await claims.isWanted(diffId)).toBe(false);
});
