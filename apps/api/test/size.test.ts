import { describe, expect, test } from '@jest/globals';
import { parseSize } from '../request/size.ts';

describe('parseSize', () => {
  test.each([
    ['2GB', 2_000_003_072],
    ['512MB', 512_000_000],
    ['512 mb', 512_000_000],
    ['1.5GiB', 1_610_612_736],
    ['4GiB', 4_294_967_296],
    ['1073741824', 1_073_741_824],
    [1_073_741_824, 1_073_741_824],
    ['16MiB', 16_777_216],
    [1_073_741_825, 1_073_745_920],
  ])('%s is %d bytes, whole blocks', (size, bytes) => {
    expect(parseSize(size)).toBe(bytes);
    expect(bytes % 4096).toBe(0);
  });

  test.each(['', 'GB', '2G', '2 gigs', '-1', '1e9', '0x10', 'NaN', -1, 1e30, Number.NaN])('refuses %p', (size) => {
    expect(() => parseSize(size)).toThrow(/field "size" .+is not a size; use 2GB/);
  });

  test.each([
    ['0', /too small/],
    ['16773120', /too small; give at least 16MiB/],
    ['17TiB', /too large/],
    ['99999999999999999999', /too large/],
  ])('refuses %s', (size, reason) => {
    expect(() => parseSize(size)).toThrow(reason);
  });
});
