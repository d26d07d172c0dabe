import { expect, test } from '@jest/globals';
import { readEnvironment } from '../environment.ts';

test('what is not set, or empty, is left to defaults', () => {
  expect(readEnvironment({ BHATTI_MAX_ENTRIES: '', BHATTI_OVERLAY: '' })).toEqual({
    redisUrl: undefined,
    concurrency: 2,
    housekeepingInterval: 86_400_000,
    overlay: undefined,
    limits: { layer: {}, image: {}, archive: {} },
    logLevel: 'info',
  });
});

test('what is set is read, without the blanks around it', () => {
  const set = {
    REDIS_URL: ' redis://one:1 ',
    BHATTI_CONCURRENCY: '64',
    BHATTI_HOUSEKEEPING_SECONDS: '2000000',
    BHATTI_OVERLAY: ' /overlay.tar ',
    BHATTI_LOG_LEVEL: 'silent',
  };
  expect(readEnvironment(set)).toMatchObject({
    redisUrl: 'redis://one:1',
    concurrency: 64,
    housekeepingInterval: 2_000_000_000,
    overlay: '/overlay.tar',
    logLevel: 'silent',
  });
  expect(() => readEnvironment({ ...set, BHATTI_CONCURRENCY: '65', BHATTI_LOG_LEVEL: 'loud' })).toThrow(
    /^BHATTI_CONCURRENCY: must be .*; BHATTI_LOG_LEVEL: must be /,
  );
});

test('limits go to layers, images and archives', () => {
  const set = {
    BHATTI_MAX_LAYER_BYTES: '1',
    BHATTI_MAX_IMAGE_BYTES: '2',
    BHATTI_MAX_ENTRIES: '3',
    BHATTI_MAX_EXPANSION: '4',
    BHATTI_MAX_ARCHIVE_BYTES: '5',
  };
  expect(readEnvironment(set).limits).toEqual({
    layer: { tarBytes: 1, entries: 3, expansionRatio: 4 },
    image: { contentBytes: 2, entries: 3 },
    archive: { unpackedBytes: 5, expansionRatio: 4 },
  });
});

test.each([
  ['20GB', 20e9],
  ['500000kB', 500_000_000],
  ['1.5GiB', 1.5 * 2 ** 30],
  ['0', 0],
  [' None ', undefined],
  ['', undefined],
])('a cache of %j has %s bytes', (text, bytes) => {
  expect(readEnvironment({ BHATTI_CACHE_SIZE: text }).cacheBytes).toBe(bytes);
});

test.each(['much', '-1', '20G'])('a cache of %j is refused, and its variable named', (text) => {
  expect(() => readEnvironment({ BHATTI_CACHE_SIZE: text })).toThrow(
    `BHATTI_CACHE_SIZE: "${text}" is not a size; use 20GB, 512MiB, a number of bytes, or none`,
  );
});

test.each(['0', '-1', '1.5', '10GB', 'many'])('a limit of %j is refused, and its variable named', (value) => {
  expect(() => readEnvironment({ BHATTI_MAX_ENTRIES: value })).toThrow(/BHATTI_MAX_ENTRIES: must be a whole number/);
});

test.each([
  ['BHATTI_CONCURRENCY', 'many', 'must be a whole number, 1 to 64'],
  ['BHATTI_CONCURRENCY', '0', 'must be a whole number, 1 to 64'],
  ['BHATTI_CONCURRENCY', '1.5', 'must be a whole number, 1 to 64'],
  ['BHATTI_HOUSEKEEPING_SECONDS', '2000001', 'must be a whole number, 1 to 2000000'],
  ['BHATTI_LOG_LEVEL', 'loud', 'must be one of trace, debug, info, warn, error, fatal, silent'],
])('%s=%s is refused, and what it may be is said', (name, value, message) => {
  expect(() => readEnvironment({ [name]: value })).toThrow(new Error(`${name}: ${message}`));
});
