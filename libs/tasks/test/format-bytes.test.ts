import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatBytes } from '../index.ts';

test.each([
  [0, '0 B'],
  [1, '1 B'],
  [999, '999 B'],
  [1000, '1 kB'],
  [12_345, '12 kB'],
  [999_499, '999 kB'],
  [999_500, '1 MB'],
  [45_000_000, '45 MB'],
  [142_400_000, '142 MB'],
  [999_499_999, '999 MB'],
  [999_500_000, '1.0 GB'],
  [1_011_000_000, '1.0 GB'],
  [5_368_709_120, '5.4 GB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test('never shows a thousand of a unit below GB, and is right to half a unit', () => {
  const units: Record<string, number> = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e13 }), (bytes) => {
      const [number = '', unit = ''] = formatBytes(bytes).split(' ');
      const scale = units[unit] ?? Number.NaN;
      expect(unit === 'GB' || Number(number) < 1000).toBe(true);
      expect(Math.abs(Number(number) * scale - bytes)).toBeLessThanOrEqual(scale / 2);
    }),
  );
});
