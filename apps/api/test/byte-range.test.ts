import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { requestedRange } from '../request/byte-range.ts';

const etag = '"abc"';
const of10 = (range: string | undefined, ifRange?: string) =>
  requestedRange({ range, ifRange }, { size: 10, etags: [etag] });

describe('a range', () => {
  test.each([
    ['bytes=0-0', { start: 0, end: 0 }],
    ['bytes=4-', { start: 4, end: 9 }],
    ['bytes=-3', { start: 7, end: 9 }],
    ['bytes=-99', { start: 0, end: 9 }],
    ['bytes=0-99', { start: 0, end: 9 }],
    ['BYTES=1-2', { start: 1, end: 2 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-4', 'unsatisfiable'],
    ['bytes=0-1,4-5', 'whole'],
    ['bytes=x', 'whole'],
    ['lines=0-1', 'whole'],
    ['', 'whole'],
    [undefined, 'whole'],
  ])('%s of 10 bytes', (range, expected) => {
    expect(of10(range)).toEqual(expected);
  });

  test('counts only for the file that If-Range names, strongly', () => {
    expect(of10('bytes=4-', etag)).toEqual({ start: 4, end: 9 });
    for (const other of ['"abd"', 'W/"abc"', '*', 'Wed, 21 Oct 2015 07:28:00 GMT', '']) {
      expect(of10('bytes=4-', other)).toBe('whole');
    }
  });

  test('never lies outside the file, whatever is asked', () => {
    const header = fc.oneof(
      fc.string(),
      fc.tuple(fc.integer(), fc.integer()).map(([from, to]) => `bytes=${from}-${to}`),
      fc.stringMatching(/^bytes=[0-9,-]{0,20}$/),
    );
    fc.assert(
      fc.property(header, fc.nat(), (range, size) => {
        const wanted = requestedRange({ range, ifRange: undefined }, { size, etags: [etag] });
        if (typeof wanted === 'string') return;
        expect(wanted.start).toBeGreaterThanOrEqual(0);
        expect(wanted.start).toBeLessThanOrEqual(wanted.end);
        expect(wanted.end).toBeLessThan(size);
      }),
    );
  });
});
