import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { expect, test } from '@jest/globals';
import { isDiskFull, isSystemError } from '../system-error.ts';

test.each([
  ['ENOSPC', true],
  ['EDQUOT', true],
  ['ESTALE', false],
] as const)('%s is an error of the system as Node makes it, and whether the disk is full is known', (name, isFull) => {
  const errno = -constants.errno[name];
  const error = Object.assign(new Error(), { code: getSystemErrorName(errno), errno, syscall: 'write' });
  expect(isSystemError(error)).toBe(true);
  expect(isDiskFull(error)).toBe(isFull);
});

test('what does not decompress is none', () => {
  let error: unknown;
  try {
    gunzipSync(Buffer.from('no gzip'));
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toMatchObject({ code: 'Z_DATA_ERROR' });
  expect(isSystemError(error)).toBe(false);
});
