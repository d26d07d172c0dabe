import { expect, test } from '@jest/globals';
import { parseBytes } from '../index.ts';

test.each([
  ['0', 0],
  ['1073741824', 1_073_741_824],
  ['12B', 12],
  ['3kB', 3_000],
  ['512MB', 512_000_000],
  ['512 mb', 512_000_000],
  [' 2GB ', 2_000_000_000],
  ['1TB', 1_000_000_000_000],
  ['3KiB', 3_072],
  ['16MIB', 16_777_216],
  ['1.5GiB', 1_610_612_736],
  ['2tib', 2_199_023_255_552],
  ['1.5B', 1.5],
  ['99999999999999999999', 1e20],
])('%j is %d bytes', (text, bytes) => {
  expect(parseBytes(text)).toBe(bytes);
});

test.each(['', 'GB', '2G', '2 gigs', '-1', '1e9', '0x10', 'NaN', '1.5.2GB', '1,5GB', '.5GB', '2GBB', '2 G B'])(
  '%j is no size',
  (text) => {
    expect(parseBytes(text)).toBeNull();
  },
);
