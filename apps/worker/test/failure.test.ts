import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { describeFailure, isUnexplained, WorkerError, withoutUrlSecrets } from '../job/failure.ts';

class LibraryError extends Error {
  readonly code = 'rate_limited';
  readonly retryable = true;
}

/** An error as Node makes it, which has no name for some error numbers. */
function systemError(
  name: 'EACCES' | 'EDQUOT' | 'EFBIG' | 'EINTR' | 'EIO' | 'EMFILE' | 'ENOMEM' | 'ENOSPC' | 'EROFS' | 'ESTALE',
): Error {
  const errno = -constants.errno[name];
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${code}: open '/var/lib/x'`), { code, errno });
}

describe('describeFailure', () => {
  test('keeps the code and the word on retrying of any error that has them', () => {
    expect(describeFailure(new LibraryError('later'))).toEqual({
      code: 'rate_limited',
      message: 'later',
      retryable: true,
    });
    expect(describeFailure(new WorkerError('not_found', 'gone'))).toEqual({
      code: 'not_found',
      message: 'gone',
      retryable: false,
    });
  });

  test.each(['ENOSPC', 'EDQUOT'] as const)('%s is no_space, however deep in the causes', (code) => {
    const system = systemError(code);
    expect(describeFailure(system)).toMatchObject({ code: 'no_space', retryable: false });
    const wrapped = new WorkerError('registry_error', 'broken', {
      retryable: true,
      cause: new Error('pipe', { cause: system }),
    });
    expect(describeFailure(wrapped)).toMatchObject({ code: 'no_space', retryable: false });
  });

  test('a cause that is its own cause ends', () => {
    const error = new Error('round');
    error.cause = error;
    expect(describeFailure(error).code).toBe('internal');
  });

  test('a refusal of Redis passes', () => {
    const error = Object.assign(new Error('MISCONF cannot write'), { name: 'ReplyError' });
    expect(describeFailure(error)).toMatchObject({ code: 'redis_unavailable', retryable: true });
  });

  test.each([
    ['EIO', 'disk_failed', true],
    ['EROFS', 'not_writable', false],
    ['EACCES', 'not_writable', false],
    ['EMFILE', 'out_of_resources', true],
    ['EFBIG', 'not_writable', false],
    ['ENOMEM', 'out_of_resources', true],
    ['ESTALE', 'disk_failed', true],
    ['EINTR', 'disk_failed', true],
  ] as const)('%s is %s where nobody has said better what it is', (system, code, retryable) => {
    const cause = systemError(system);
    const failure = describeFailure(cause);
    expect(failure).toMatchObject({ code, retryable, message: expect.stringContaining(system) });
    expect(failure.message).not.toContain('/var/lib/x');
    expect(describeFailure(new WorkerError('internal', 'cannot write', { cause }))).toEqual(failure);
    expect(describeFailure(new WorkerError('upload_lost', 'gone', { cause }))).toMatchObject({ code: 'upload_lost' });
  });

  test('the unforeseen is internal, other system errors too, and quotes no secrets of URLs', () => {
    expect(describeFailure(Object.assign(new Error('EISDIR: is one'), { code: 'EISDIR' }))).toMatchObject({
      code: 'internal',
      message: 'EISDIR: is one',
    });
    expect(describeFailure('text')).toEqual({ code: 'internal', message: 'text', retryable: false });
    expect(describeFailure(new Error('GET https://me:secret@host/v2/x?sig=secret failed')).message).toBe(
      'GET https://host/v2/x failed',
    );
  });
});

test.each([
  ['internal', true],
  ['disk_failed', true],
  ['out_of_resources', true],
  ['no_space', false],
  ['manifest_unknown', false],
])('that %s needs its stack in the log is %s', (code, expected) => {
  expect(isUnexplained({ code, message: '', retryable: false })).toBe(expected);
});

describe('withoutUrlSecrets', () => {
  test('drops user and query, keeps the rest of the text', () => {
    expect(withoutUrlSecrets('a http://x/y?z=1 b "https://u:p@x:5000/y#f" c')).toBe(
      'a http://x/y b "https://x:5000/y" c',
    );
    expect(withoutUrlSecrets('at http://u:p@ss@proxy:3128 and http://x/@y, me@z')).toBe(
      'at http://proxy:3128 and http://x/@y, me@z',
    );
    expect(withoutUrlSecrets('HTTPS://me:secret@host/x?sig=secret')).toBe('HTTPS://host/x');
    expect(withoutUrlSecrets('no url, user@host')).toBe('no url, user@host');
  });
});
