import { describe, expect, test } from '@jest/globals';
import { errorReplyOf, refusalIn, refusalOf } from '../index.ts';

const reply = (message: string, about: object = {}) =>
  Object.assign(new Error(message), { name: 'ReplyError', ...about });

describe('refusalIn', () => {
  test.each([
    ["OOM command not allowed when used memory > 'maxmemory'.", 'OOM', true],
    ['-MISCONF Redis is configured to save RDB snapshots', 'MISCONF', true],
    ['NOREPLICAS Not enough good replicas to write. script: 2f74, on @user_script:76.', 'NOREPLICAS', true],
    // In a script, before Redis 7.
    ['ERR Error running script (call to f_1): @user_script:4: @user_script: 4: -OOM command not allowed', 'OOM', true],
    ["NOPERM this user has no permissions to run the 'set' command", 'NOPERM', false],
    ["ERR Error running script (call to f_1): The user executing the script can't run this command", 'NOPERM', false],
    ['WRONGPASS invalid username-password pair or user is disabled.', 'WRONGPASS', false],
  ])('%s', (text, word, passes) => {
    expect(refusalIn(text)).toEqual({ word, passes });
  });

  test.each([
    'WRONGTYPE Operation against a key holding the wrong kind of value',
    'BUSYGROUP Consumer Group name already exists',
    'ERR no such key: OOM',
  ])('%s is none', (text) => {
    expect(refusalIn(text)).toBeUndefined();
  });
});

test('a transaction tells of the first command that was refused', () => {
  const error = reply('EXECABORT Transaction discarded because of previous errors.', {
    previousErrors: [reply('OOM command not allowed')],
  });
  expect(errorReplyOf(error)).toBe('OOM command not allowed');
  expect(refusalOf(error)).toEqual({ word: 'OOM', passes: true });
});

test('what others say is no reply of Redis', () => {
  expect([errorReplyOf(new Error('OOM')), refusalOf(new Error('OOM')), refusalOf('OOM')]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
