import { expect, test } from '@jest/globals';
import { giveBack } from '../layer/chunk-memory.ts';

test('a chunk with memory of its own is empty afterwards, and its memory is free', () => {
  const chunks = Array.from({ length: 64 }, () => Buffer.alloc(1024 * 1024, 1));
  const held = process.memoryUsage().arrayBuffers;
  for (const chunk of chunks) giveBack(chunk);
  expect(chunks.map(({ length }) => length)).toEqual(chunks.map(() => 0));
  expect(process.memoryUsage().arrayBuffers).toBeLessThanOrEqual(held - 64 * 1024 * 1024);
});

test('a chunk with others after it in the same memory keeps it', () => {
  const whole = Buffer.alloc(1024 * 1024, 7);
  giveBack(whole.subarray(0, 1000));
  expect(whole.every((byte) => byte === 7)).toBe(true);
});
