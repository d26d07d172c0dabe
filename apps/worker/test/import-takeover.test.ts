import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { KEY_PREFIX, liveTask, TaskClaims } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

test('an import whose worker is killed is taken over by another, which finds the upload and leaves nothing', async () => {
  const tar = await layerTar([{ name: 'f', content: randomBytes(48_000_000) }]);
  const diffId = `sha256:${createHash('sha256').update(tar).digest('hex')}`;
  // Random bytes do not compress, so the lowest level will do.
  const archive = gzipSync(await imageArchive('docker', [{ tags: ['large:1'], tars: [tar] }]), { level: 0 });
  const claims = new TaskClaims(stack.connection, 'layer', liveTask(stack.queue));
  const victim = await stack.startWorkerProcess();
  const id = await stack.enqueueImport({ archive, name: 'taken-over', sizeBytes: 2 ** 26 });
  await eventually(() => claims.isWanted(diffId));
  await victim.end('SIGKILL');
  expect((await stack.view(id)).status).toBe('running');
  // The upload, and at least what the victim unpacked.
  expect((await stack.leftovers()).length).toBeGreaterThan(1);
  // Its layer must not be evicted while nobody works on the task.
  expect(await claims.isWanted(diffId)).toBe(true);
  // Its lock and its lease expire, for which process.test.ts waits.
  await stack.giveUpOn(id);
  await stack.connection.del(`${KEY_PREFIX}:lease:layer:${diffId}`);
  await stack.startWorkerProcess();
  expect(await stack.ended(id)).toMatchObject({ status: 'completed', result: { image: 'taken-over' } });
  expect((await stack.job(id)).stalledCounter).toBe(1);
  expect(await stack.leftovers()).toEqual([]);
  expect(await claims.isWanted(diffId)).toBe(false);
});
