import { afterEach, expect, jest, test } from '@jest/globals';
import { RecentlyTold } from '../index.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

test('a problem is due once, and once a minute while it lasts; when it comes back it is another', () => {
  let now = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  const told = new RecentlyTold();
  expect(told.end()).toBe(false);
  expect([told.isDue('a'), told.isDue('a'), told.isDue('b')]).toEqual([true, false, true]);
  now = 59_999;
  expect(told.isDue('a')).toBe(false);
  now = 60_000;
  expect([told.isDue('a'), told.isDue('a')]).toEqual([true, false]);
  expect([told.end(), told.end()]).toEqual([true, false]);
  expect(told.isDue('a')).toBe(true);
});
