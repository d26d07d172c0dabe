import { describe, expect, test } from '@jest/globals';
import { parseContentRange } from '../download/content-range.ts';
import { OciError } from '../error.ts';
import { registryError } from '../registry/registry-error.ts';
import { mayRetry, parseRetryAfter, retryDelay } from '../registry/retry.ts';

const options = { attempts: 4, baseDelayMs: 100, maxDelayMs: 1000, maxRetryAfterMs: 5000 };

describe('retryDelay', () => {
  test('doubles, up to the most, with jitter down to a half', () => {
    const all = [1, 2, 3, 4, 5, 6].map((failures) => retryDelay(failures, undefined, options, () => 1));
    expect(all).toEqual([100, 200, 400, 800, 1000, 1000]);
    expect(retryDelay(1, undefined, options, () => 0)).toBe(50);
  });

  test('is never shorter than what the registry asks for', () => {
    expect(retryDelay(1, 3000, options, () => 1)).toBe(3000);
    expect(retryDelay(5, 10, options, () => 1)).toBe(1000);
  });
});

describe('parseRetryAfter', () => {
  const now = Date.parse('2024-05-01T12:00:00Z');
  test.each([
    ['120', 120_000],
    ['0', 0],
    [' 3 ', 3000],
    ['Wed, 01 May 2024 12:00:30 GMT', 30_000],
    ['Wed, 01 May 2024 11:00:00 GMT', 0],
    ['soon', undefined],
    ['-5', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j is %s ms', (header, expected) => {
    expect(parseRetryAfter(header, now)).toBe(expected);
  });
});

test('a date to wait until is counted by the clock of the registry that says it, however wrong ours is', () => {
  const headers = new Map([
    ['date', 'Wed, 01 May 2024 12:00:00 GMT'],
    ['retry-after', 'Wed, 01 May 2024 12:00:30 GMT'],
  ]);
  const url = new URL('https://registry.example/v2/');
  const refused = { head: { status: 429, headers }, body: new Uint8Array(), url, kind: 'blob', what: 'it' } as const;
  expect(registryError(refused).retryAfterMs).toBe(30_000);
});

describe('mayRetry', () => {
  const error = (retryable: boolean, retryAfterMs?: number) =>
    new OciError('registry_error', 'x', { retryable, retryAfterMs });
  test('only what can help, only so often, and only when the registry does not ask for too long', () => {
    expect(mayRetry(error(true), 3, options)).toBe(true);
    expect(mayRetry(error(true), 4, options)).toBe(false);
    expect(mayRetry(error(false), 1, options)).toBe(false);
    expect(mayRetry(error(true, 5000), 1, options)).toBe(true);
    expect(mayRetry(error(true, 5001), 1, options)).toBe(false);
  });
});

describe('parseContentRange', () => {
  test.each([
    ['bytes 5-9/10', { first: 5, last: 9, total: 10 }],
    ['bytes 5-9/*', { first: 5, last: 9, total: undefined }],
    ['bytes */10', { first: undefined, last: undefined, total: 10 }],
    ['Bytes 5-9/10', { first: 5, last: 9, total: 10 }],
    ['items 1-2/3', undefined],
    ['megabytes 1-2/3', undefined],
    ['bytes 5-', undefined],
    ['bytes 5-9/10, 12-13/20', undefined],
    [undefined, undefined],
  ])('%j', (header, expected) => {
    expect(parseContentRange(header)).toEqual(expected);
  });
});
