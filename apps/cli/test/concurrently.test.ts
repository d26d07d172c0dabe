import { expect, test } from '@jest/globals';
import { mapConcurrently } from '../rootfs/concurrently.ts';

test('works on as many items as it may at once, and gives their results in order', async () => {
  let underWay = 0;
  let most = 0;
  const results = await mapConcurrently([5, 1, 4, 2, 3], 2, async (item, number) => {
    most = Math.max(most, ++underWay);
    for (let turn = 0; turn < item; turn++) await new Promise(setImmediate);
    underWay--;
    return [item, number];
  });
  expect(results).toEqual([5, 1, 4, 2, 3].map((item, number) => [item, number]));
  expect(most).toBe(2);
});

test('fails with the first failure, begins nothing after it, and leaves nothing under way', async () => {
  const begun: number[] = [];
  let ended = 0;
  const work = mapConcurrently([0, 1, 2, 3], 2, async (item) => {
    begun.push(item);
    await new Promise(setImmediate);
    if (item === 0) throw new Error('no');
    await new Promise(setImmediate);
    ended++;
  });
  await expect(work).rejects.toThrow('no');
  expect(begun).toEqual([0, 1]);
  expect(ended).toBe(1);
});
