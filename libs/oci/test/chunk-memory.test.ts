import { expect, test } from '@jest/globals';
import { giveBack } from '../download/chunk-memory.ts';

test('a chunk with memory of its own is empty afterwards', () => {
  const chunk = Buffer.alloc(65_536, 1);
  giveBack(chunk);
  expect(chunk).toHaveLength(0);
});

test('an empty one, which is handed out again and again, stays as it is', () => {
  const empty = Buffer.alloc(0);
  giveBack(empty);
  expect(() => new Uint8Array(1).set(empty)).not.toThrow();
});

test.each([
  ['before it', 10, 100],
  ['after it', 0, 90],
])('one that shares its memory with what is %s keeps it', (_where, from, to) => {
  const whole = Buffer.alloc(100, 7);
  giveBack(whole.subarray(from, to));
  expect(whole).toEqual(Buffer.alloc(100, 7));
});
