/**
 * A worker process that is stopped (SIGSTOP) between two steps of a publish, until another has ended its task and made another
 * image of the same name, and is then continued. Each step waits for Redis, so a gate in front of it stops the worker at the
 * same point each time.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { KEY_PREFIX, queueKey } from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { type RedisGate, startRedisGate } from '../../../test/support/redis-gate.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';
import type { WorkerProcess } from './support/worker-process.ts';

const NAME = 'app';

let stack: TestStack;
let gate: RedisGate;
let victim: WorkerProcess;

beforeAll(async () => {
  stack = await startStack();
  gate = await startRedisGate(stack.redis.socketPath, join(stack.redis.directory, 'gate.sock'));
  victim = await stack.startWorkerProcess({ REDIS_URL: gate.socketPath });
});
afterAll(async () => {
  await victim?.end('SIGKILL');
  await gate?.close();
  await stack.close();
});

async function push(repository: string) {
  const tar = await layerTar([{ name: 'f', content: randomBytes(1000) }]);
  return stack.registry.pushImage({ repository, layers: [{ tar }] });
}

/** Published entries, and the catalog's files of the name: `app.json`, and `?` for one that has not its name yet. */
function published(): { readonly layers: number; readonly rootfs: number; readonly names: string[] } {
  const namesIn = (folder: string) => {
    try {
      return readdirSync(join(stack.directory, folder));
    } catch {
      return [];
    }
  };
  const entries = (folder: string) => namesIn(folder).filter((name) => /^[0-9a-f]{64}$/.test(name)).length;
  const names = namesIn('images/local').map((name) => (name.startsWith('.tmp~') ? '?' : name));
  return { layers: entries('layers/sha256'), rootfs: entries('rootfs/sha256'), names };
}

type Published = ReturnType<typeof published>;
const asksWhoseItIs = /\r\nget\r\n\$\d+\r\n[^\r]*:lock\r\n/i;

test.each([
  {
    point: 'its layer is published, and nothing is built',
    when: (now: Published, before: Published) => now.layers > before.layers && now.rootfs === before.rootfs,
  },
  {
    point: 'its root filesystem is published, and has no name',
    when: (now: Published, before: Published) => now.rootfs > before.rootfs && now.names.length === 0,
  },
  {
    point: 'it knows that the task is its own, and has only to rename the entry',
    when: (now: Published) => now.names.includes('?'),
    answerTo: asksWhoseItIs,
  },
  {
    point: 'the image has its name, and the task has not ended',
    when: (now: Published) => now.names.includes(`${NAME}.json`),
  },
])('stopped when $point, and woken when all is over, it does no harm', async ({ when, answerTo }) => {
  const [image, later] = [await push('older'), await push('newer')];
  const before = published();
  const shut = gate.shut({
    when: () => when(published(), before),
    onShut: () => victim.signal('SIGSTOP'),
    ...(answerTo && { answerTo }),
  });
  const id = await stack.enqueue({ reference: image.reference, name: NAME });
  await shut;
  const [seen, wrote] = [published(), victim.output().length];
  expect(when(seen, before)).toBe(true);

  await stack.giveUpOn(id);
  const other = await stack.startWorker();
  expect(await stack.ended(id)).toMatchObject({ status: 'completed', result: { digest: image.digest } });
  expect(await stack.pull({ reference: later.reference, name: NAME })).toMatchObject({ status: 'completed' });
  await other.close();

  gate.open();
  victim.signal('SIGCONT');
  await eventually(async () => victim.output().slice(wrote).includes('taken over by another worker'));
  expect((await stack.store.images.get('local', NAME))?.manifestDigest).toBe(later.digest);
  expect(await stack.view(id)).toMatchObject({ status: 'completed', error: null, result: { digest: image.digest } });
  expect(await stack.leftovers()).toEqual([]);
  for (const { digest } of image.layers) {
    expect(stack.registry.requests.filter(({ path }) => path.endsWith(digest))).toHaveLength(1);
  }

  // The catalog is unchanged, and nothing of the worker's own was kept.
  expect(await stack.pull({ reference: image.reference, name: 'next' })).toMatchObject({ status: 'completed' });
  await eventually(async () => (await stack.connection.keys(`${KEY_PREFIX}:*claims*`)).length === 0);
  for (const name of [NAME, 'next']) await stack.store.images.delete('local', name);
});

test('stopped, and told to end before it wakes, it lets go of a job that is another’s, and does not hand it back', async () => {
  const image = await push('ended');
  const before = published();
  const shut = gate.shut({
    when: () => published().layers > before.layers,
    onShut: () => victim.signal('SIGSTOP'),
  });
  const id = await stack.enqueue({ reference: image.reference, name: NAME });
  await shut;
  await stack.giveUpOn(id);
  const other = await stack.startWorker();
  expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
  await other.close();

  const wrote = victim.output().length;
  const ending = victim.end('SIGTERM');
  victim.signal('SIGCONT');
  // It has been told to end, but does not know from Redis yet whose the job is.
  await eventually(() => victim.output().slice(wrote).includes('"msg":"stopping"'));
  gate.open();
  expect(await ending).toBe(0);
  expect(victim.output().slice(wrote)).toContain('taken over by another worker');
  expect((await stack.queue.getJobLogs(id)).logs.filter((line) => line.includes('handed back'))).toEqual([]);
  expect(await stack.view(id)).toMatchObject({ status: 'completed', error: null });
  expect(await stack.connection.lrange(queueKey('active'), 0, -1)).toEqual([]);
});
