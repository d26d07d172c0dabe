import { afterAll, beforeAll, expect, test } from '@jest/globals';
import * as z from 'zod';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
  await stack.startWorker();
});
afterAll(() => stack.close());

const line = z.looseObject({ msg: z.string(), task_id: z.string().optional(), request_id: z.string().optional() });

function lines(): z.output<typeof line>[] {
  return stack
    .log()
    .split('\n')
    .filter((text) => text !== '')
    .map((text) => line.parse(JSON.parse(text)));
}

test('each line about a task has its id and that of its request, those of the registry client too', async () => {
  const layers = async (content: string) => [{ tar: await layerTar([{ name: 'a', content }]) }];
  const one = stack.registry.pushImage({ repository: 'library/one', layers: await layers('one') });
  stack.registry.plan({ path: 'library/one/manifests/', status: 503, times: 1 });
  // Of another content: the task that is slower would reuse the other's root filesystem, and not speak of layers.
  const other = stack.registry.pushImage({ repository: 'library/other', layers: await layers('other') });
  const [first, second] = await Promise.all([
    stack.enqueue({ reference: one.reference, name: 'one', requestId: 'req_one' }),
    stack.enqueue({ reference: other.reference, name: 'other', requestId: 'req_other' }),
  ]);
  await Promise.all([stack.ended(first), stack.ended(second)]);

  const ofFirst = lines().filter((seen) => seen.task_id === first);
  expect(ofFirst.length).toBeGreaterThan(2);
  expect(ofFirst.map(({ msg }) => msg)).toContainEqual(expect.stringMatching(/: 1 layer, /));
  expect(new Set(ofFirst.map((seen) => seen.request_id))).toEqual(new Set(['req_one']));
  expect(lines().filter(({ msg }) => msg.startsWith('registry: '))).toEqual([
    expect.objectContaining({ task_id: first, request_id: 'req_one', delay_ms: expect.any(Number), failures: 1 }),
  ]);
  expect(
    lines()
      .filter((seen) => seen.request_id === 'req_other')
      .map((seen) => seen.task_id),
  ).toContain(second);
});

test('a failed attempt is one line, with its code, which attempt it was, and whether another follows', async () => {
  const { reference } = stack.registry.pushImage({
    repository: 'library/limited',
    layers: [{ tar: await layerTar([{ name: 'a', content: 'limited' }]) }],
  });
  stack.registry.plan({
    path: 'library/limited/manifests/',
    status: 429,
    headers: { 'retry-after': '3600' },
    times: 1,
  });
  stack.registry.plan({ path: 'library/limited/manifests/', status: 404 });
  const id = await stack.enqueue({ reference, name: 'limited' });
  await eventually(async () => (await stack.job(id)).isDelayed());
  await (await stack.job(id)).promote();
  await stack.ended(id);
  const told = lines().filter((seen) => seen.task_id === id && /fail/.test(seen.msg));
  const duration_ms = expect.any(Number);
  expect(told).toEqual([
    expect.objectContaining({ code: 'rate_limited', attempt: 1, retried: true, duration_ms }),
    expect.objectContaining({ code: 'manifest_unknown', attempt: 2, retried: false, duration_ms }),
  ]);
});

test('fields are named alike: lower case, with underscores', async () => {
  const names = new Set(lines().flatMap((seen) => Object.keys(seen)));
  expect([...names].filter((name) => !/^[a-z]+(_[a-z]+)*$/.test(name))).toEqual([]);
});
