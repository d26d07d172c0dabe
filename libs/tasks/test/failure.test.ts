import { describe, expect, test } from '@jest/globals';
import { UnrecoverableError } from 'bullmq';
import fc from 'fast-check';
import { anyCharacter } from '../../../test/support/any-character.ts';
import { encodeFailure, jobError, parseFailure } from '../index.ts';

describe('a failure as the reason of a job', () => {
  test('reads well as it is', () => {
    expect(encodeFailure({ code: 'manifest_unknown', message: 'docker.io/library/nope:latest: not found' })).toBe(
      'manifest_unknown: docker.io/library/nope:latest: not found',
    );
  });

  test('comes back whole, whatever the message', () => {
    const code = fc.stringMatching(/^[a-z][a-z0-9_]{0,30}$/);
    fc.assert(
      fc.property(fc.record({ code, message: fc.string({ unit: anyCharacter }) }), (failure) => {
        expect(parseFailure(encodeFailure(failure))).toEqual(failure);
      }),
    );
  });

  test.each(['', 'something broke', 'Error: no code of ours', 'connect ECONNREFUSED 127.0.0.1:6379'])(
    'is internal when nobody gave it a code: %j',
    (reason) => {
      expect(parseFailure(reason)).toEqual({ code: 'internal', message: reason });
    },
  );

  test.each(['job stalled more than allowable limit', 'job started more than allowable limit'])(
    'is worker_crashed in the words of BullMQ: %s',
    (reason) => {
      expect(parseFailure(reason).code).toBe('worker_crashed');
      expect(parseFailure(reason).message).toContain('died or hung again and again while');
      expect(parseFailure(reason, 1).message).toContain('died or hung 1 time while');
      expect(parseFailure(reason, 3).message).toContain('died or hung 3 times while');
    },
  );

  test('ends the job unless trying again can help', () => {
    const failure = { code: 'registry_error', message: '503' };
    expect(jobError({ ...failure, retryable: false })).toBeInstanceOf(UnrecoverableError);
    expect(jobError({ ...failure, retryable: true })).not.toBeInstanceOf(UnrecoverableError);
    expect(jobError({ ...failure, retryable: true }).message).toBe('registry_error: 503');
  });
});
