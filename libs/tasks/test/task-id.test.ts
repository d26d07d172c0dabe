import { expect, test } from '@jest/globals';
import { createTaskId, isTaskId } from '../index.ts';

test('task ids have their form and are all different', () => {
  const ids = Array.from({ length: 10_000 }, createTaskId);
  expect(ids.every(isTaskId)).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
  expect(new Set(ids.join('').replaceAll('tsk_', '')).size).toBe(32);
});

test.each([
  '',
  'tsk_',
  'tsk_abc',
  'tsk_abcdefghijk1',
  'TSK_abcdefghijkl',
  'tsk_abcdefghijkl\n',
  'tsk_abcdefghij:lock',
  'a:tsk_abcdefghijkl',
])('%j is none', (text) => {
  expect(isTaskId(text)).toBe(false);
});
