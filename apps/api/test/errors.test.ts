import { OciError } from '@bhatti/oci';
import { StoreError } from '@bhatti/store';
import { TaskError } from '@bhatti/tasks';
import { describe, expect, test } from '@jest/globals';
import { toApiError } from '../request/errors.ts';
import { isRedisFailure } from '../tasks/redis-failure.ts';

describe('toApiError', () => {
  test('the code of a lib decides the status', () => {
    expect(toApiError(new OciError('invalid_reference', 'bad'))).toMatchObject({
      status: 400,
      code: 'invalid_reference',
    });
    expect(toApiError(new TaskError('not_found', 'none'))).toMatchObject({ status: 404, message: 'none' });
    expect(toApiError(new TaskError('task_ended', 'ended'))).toMatchObject({ status: 409 });
    const readOnly = new StoreError('not_writable', 'read-only');
    expect(toApiError(readOnly)).toMatchObject({ status: 500, code: 'not_writable', message: 'read-only' });
  });

  test('what is wrong with the disk or the host is named, and says nothing of the inside', () => {
    const full = Object.assign(new Error("open '/secret'"), { code: 'EMFILE' });
    expect(toApiError(new Error('secret', { cause: full }))).toMatchObject({
      status: 503,
      code: 'out_of_resources',
      message: expect.not.stringContaining('secret'),
      headers: { 'Retry-After': '10' },
    });
    expect(toApiError(Object.assign(new Error('read'), { code: 'EIO' }))).toMatchObject({
      status: 500,
      code: 'disk_failed',
    });
  });

  test.each([
    ['an error', new Error('secret inside')],
    ['a text', 'secret'],
    ['null', null],
    ['nothing', undefined],
    ['an error with a code that is not for the client', new OciError('unauthorized', 'secret registry')],
  ])('tells nothing of %s', (_what, thrown) => {
    const error = toApiError(thrown);
    expect(error).toMatchObject({ status: 500, code: 'internal' });
    expect(error.message).not.toContain('secret');
  });
});

describe('isRedisFailure', () => {
  const named = (name: string, message: string) => Object.assign(new Error(message), { name });

  test.each([
    ['ReplyError', 'LOADING Redis is loading the dataset in memory'],
    ['ReplyError', 'OOM command not allowed'],
    ['MaxRetriesPerRequestError', 'Reached the max retries per request limit'],
    ['Error', 'Connection is closed.'],
    ['Error', 'Command timed out'],
  ])('%s: %s', (name, message) => {
    expect(isRedisFailure(named(name, message))).toBe(true);
  });

  test('an error of the connection', () => {
    expect(isRedisFailure(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }))).toBe(true);
  });

  test('a mistake of ours is none', () => {
    expect(isRedisFailure(named('ReplyError', 'ERR wrong number of arguments'))).toBe(false);
    expect(isRedisFailure(new TypeError('x is not a function'))).toBe(false);
    expect(isRedisFailure('text')).toBe(false);
  });
});
