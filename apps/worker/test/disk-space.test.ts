import { describe, expect, test } from '@jest/globals';
import { estimateSpace, requireSpace } from '../image/disk-space.ts';

describe('estimateSpace', () => {
  test('a missing layer is there twice, in the cache and in the image; a cached one once more', () => {
    expect(estimateSpace([{ size: 100, compression: 'gzip', missing: true }])).toBe(400);
    expect(estimateSpace([{ size: 100, compression: 'zstd', missing: false }])).toBe(200);
    expect(estimateSpace([{ size: 100, compression: 'none', missing: true }])).toBe(200);
    expect(estimateSpace([])).toBe(0);
  });
});

describe('requireSpace', () => {
  test('names what is needed and what is free', async () => {
    const store = { directory: '/data', freeBytes: async () => 5_000_000 };
    await requireSpace(store, 5_000_000);
    await expect(requireSpace(store, 3_000_000_000)).rejects.toMatchObject({
      code: 'no_space',
      retryable: false,
      message: 'the image needs about 3.0 GB in /data, 5 MB are free; free some and try again',
    });
  });
});
