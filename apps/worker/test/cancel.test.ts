import { randomBytes } from 'node:crypto';
import { cancelTask } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const SIZE = 4_000_000;

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
  await stack.startWorker();
  await stack.startWorker();
});
afterAll(() => stack.close());
afterEach(() => stack.registry.clearFaults());

/** An image of one layer, and the digest of that. */
async function image(name: string): Promise<{ readonly reference: string; readonly blob: string }> {
  const tar = await layerTar([{ name: 'f', content: randomBytes(SIZE) }]);
  const { reference, layers } = stack.registry.pushImage({ repository: `library/${name}`, layers: [{ tar }] });
  return { reference, blob: layers[0]?.digest ?? '' };
}

const partlyThere = (blob: string) => eventually(async () => (await stack.store.partials.size(blob)) > SIZE / 8);

const requestsFor = (blob: string) => stack.registry.requests.filter(({ path }) => path.endsWith(blob));

async function cancel(id: string): Promise<void> {
  await cancelTask(stack.queue, stack.relay, id);
}

describe('a cancelled task', () => {
  test('ends at once while it downloads, and leaves nothing', async () => {
    const { reference, blob } = await image('running');
    stack.registry.plan({ path: blob, stallAfter: SIZE / 4 });
    const id = await stack.enqueue({ reference, name: 'running' });
    await partlyThere(blob);
    const { open } = stack.registry.connections();
    const told = performance.now();
    await cancel(id);
    expect(await stack.ended(id)).toMatchObject({ status: 'cancelled', error: { code: 'cancelled' }, result: null });
    // Before the stalled download would have been retried.
    expect(performance.now() - told).toBeLessThan(10_000);
    expect(await stack.leftovers()).toEqual([]);
    expect(await stack.connection.keys('*partial*')).toEqual([]);
    expect(await stack.connection.keys('*lease*')).toEqual([]);
    await eventually(async () => stack.registry.connections().open < open);
    expect(await stack.job(id)).toMatchObject({ attemptsMade: 1 });
    expect((await stack.queue.getJobLogs(id)).logs.at(-1)).toContain('failed: cancelled: ');
  });

  test('does not hurt another that needs the same layer: it goes on from the bytes that are there', async () => {
    const { reference, blob } = await image('shared');
    stack.registry.plan({ path: blob, stallAfter: SIZE / 4, times: 1 });
    const first = await stack.enqueue({ reference, name: 'first' });
    await partlyThere(blob);
    const second = await stack.enqueue({ reference, name: 'second' });
    await eventually(async () => (await stack.view(second)).detail?.phase === 'downloading');
    await cancel(first);
    expect(await stack.ended(second)).toMatchObject({ status: 'completed' });
    expect(await stack.ended(first)).toMatchObject({ status: 'cancelled' });
    const [start, next, ...more] = requestsFor(blob).map(({ range }) => range);
    expect([start, more]).toEqual([undefined, []]);
    expect(Number(next?.replace(/\D/g, ''))).toBeGreaterThan(SIZE / 8);
    expect(await stack.leftovers()).toEqual([]);
  });

  test('ends at once while it waits to be tried again, and leaves nothing', async () => {
    const { reference, blob } = await image('delayed');
    stack.registry.plan({ path: blob, cutAfter: SIZE / 4, times: 1 });
    stack.registry.plan({ path: blob, status: 429, headers: { 'retry-after': '3600' } });
    const id = await stack.enqueue({ reference, name: 'delayed' });
    await eventually(async () => (await stack.job(id)).isDelayed());
    expect(await stack.leftovers()).toHaveLength(1);
    await cancel(id);
    expect(await stack.ended(id)).toMatchObject({ status: 'cancelled' });
    expect(requestsFor(blob)).toHaveLength(2);
    expect(await stack.leftovers()).toEqual([]);
  });
});
