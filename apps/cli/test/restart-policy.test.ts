import { describe, expect, test } from '@jest/globals';
import { deathsInARow, restartDelay } from '../serve/restart-policy.ts';

describe('restart policy', () => {
  test('the pause doubles from 250 ms to 10 s', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 50].map(restartDelay)).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  });

  test('deaths soon after the start add up, one after a healthy life starts anew', () => {
    expect(deathsInARow(0, 5)).toBe(1);
    expect(deathsInARow(4, 5)).toBe(5);
    expect(deathsInARow(4, 60_000)).toBe(1);
  });
});
