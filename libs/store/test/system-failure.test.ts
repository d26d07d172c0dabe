import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { systemErrorName, systemFailure } from '../index.ts';

/** As Node makes it: it has not for all of the system's a name. */
function systemError(number: number): Error {
  const code = getSystemErrorName(-number);
  return Object.assign(new Error(`${code}: open`), { code, errno: -number });
}

/** One of the given depth of causes. */
function caused(depth: number): unknown {
  return depth === 0 ? systemError(constants.errno.EIO) : new Error('broken', { cause: caused(depth - 1) });
}

describe('a system error', () => {
  const { errno } = constants;
  test.each([
    ['ENOSPC', errno.ENOSPC, 'no_space', false],
    ['EDQUOT', errno.EDQUOT, 'no_space', false],
    ['EACCES', errno.EACCES, 'not_writable', false],
    ['EPERM', errno.EPERM, 'not_writable', false],
    ['EROFS', errno.EROFS, 'not_writable', false],
    ['EFBIG', errno.EFBIG, 'not_writable', false],
    ['EIO', errno.EIO, 'disk_failed', true],
    ['EINTR', errno.EINTR, 'disk_failed', true],
    ['EBADMSG', errno.EBADMSG, 'disk_failed', true],
    // Linux's number, for which Node has no constant.
    ['EUCLEAN', 117, 'disk_failed', true],
    ['ENXIO', errno.ENXIO, 'disk_failed', true],
    ['ENODEV', errno.ENODEV, 'disk_failed', true],
    ['ESTALE', errno.ESTALE, 'disk_failed', true],
    ['EMFILE', errno.EMFILE, 'out_of_resources', true],
    ['ENFILE', errno.ENFILE, 'out_of_resources', true],
    ['ENOMEM', errno.ENOMEM, 'out_of_resources', true],
    ['EAGAIN', errno.EAGAIN, 'out_of_resources', true],
  ] as const)('%s has its name, and means for the data directory what it means', (name, number, code, retryable) => {
    const error = systemError(number);
    expect(systemErrorName(error)).toBe(name);
    // As synchronous calls tell it.
    if (!('code' in error) || error.code !== name) {
      expect(systemErrorName(Object.assign(new Error(), { code: 'UNKNOWN', errno: -number }))).toBe(name);
    }
    const message = expect.stringContaining(`(write a file: ${name})`);
    expect(systemFailure(error, 'write a file')).toEqual({ code, retryable, message });
    expect(systemFailure(error)?.message).toContain(`(${name})`);
  });

  test('is found at some depth of causes, also where they have no end', () => {
    expect(systemFailure(caused(8))).toMatchObject({ code: 'disk_failed' });
    const circular = new Error('round');
    circular.cause = new Error('and round', { cause: circular });
    expect(systemFailure(circular)).toBeUndefined();
  });

  test('is no other error that has a code', () => {
    expect(systemErrorName(Object.assign(new Error(), { code: 'ENOENT', errno: 'ENOENT' }))).toBe('ENOENT');
    expect(systemErrorName(Object.assign(new Error(), { code: 'UNKNOWN' }))).toBe('UNKNOWN');
    for (const error of [undefined, 'EIO', new Error('EIO'), Object.assign(new Error(), { code: 5 })]) {
      expect([systemErrorName(error), systemFailure(error)]).toEqual([undefined, undefined]);
    }
    expect(systemFailure(systemError(constants.errno.ENOENT))).toBeUndefined();
  });
});
