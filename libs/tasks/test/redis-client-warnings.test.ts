import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { redirectClientWarnings } from '../index.ts';

const { warn } = console;
let told: string[];

beforeEach(() => {
  told = [];
  redirectClientWarnings((line) => told.push(line));
});
afterEach(() => {
  console.warn = warn;
});

test('what the client prints is told as it would be printed', () => {
  console.warn('[ioredis] %s in %d ms', 'slow', 5, { node: 'one' });
  expect(told).toEqual(["[ioredis] slow in 5 ms { node: 'one' }"]);
});

test('its warning of a password that is not needed is not told: it comes by mistake', () => {
  console.warn('[WARN] Redis server does not require a password, but a password was supplied.');
  expect(told).toEqual([]);
});
