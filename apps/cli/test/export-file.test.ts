import * as real from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

/** What the disk says to fsync(2), once. */
let failure: 'EDQUOT' | 'EIO' | 'ENOSPC' | undefined;

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  open: async (path: string, flags: string) => {
    const file = await real.open(path, flags);
    const name = failure;
    failure = undefined;
    // As Node makes it, which has no name for some error numbers.
    if (name !== undefined) file.sync = () => Promise.reject(systemError(-constants.errno[name]));
    return file;
  },
}));

function systemError(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${code}: fsync`), { code, errno, syscall: 'fsync' });
}
const { publishExport } = await import('../transfer/export-file.ts');

const complete = { size: 5, sha256: '0'.repeat(64), expected: undefined };

let directory: string;
let partial: string;

beforeEach(async () => {
  directory = await real.mkdtemp(join(tmpdir(), 'bhatti-export-'));
  partial = join(directory, '.image.partial');
  await real.writeFile(partial, 'image');
});
afterEach(() => real.rm(directory, { recursive: true }));

test.each([
  ['ENOSPC', 'disk_full'],
  ['EDQUOT', 'disk_full'],
  ['EIO', 'not_writable'],
] as const)('what the disk does not take (%s) is told, and not gone on with', async (name, told) => {
  failure = name;
  const publishing = publishExport(partial, join(directory, 'image'), { ...complete, force: false });
  await expect(publishing).rejects.toMatchObject({ code: told });
  expect(await real.readdir(directory)).toEqual([]);
});

test('a place that is gone by the end is told, and what has arrived is kept', async () => {
  const publishing = publishExport(partial, join(directory, 'gone', 'image'), { ...complete, force: false });
  await expect(publishing).rejects.toMatchObject({ code: 'not_found' });
  expect(await real.readdir(directory)).toEqual(['.image.partial']);
});

test('what others have made in that place meanwhile is replaced by force only, and what has arrived is kept for that', async () => {
  const path = join(directory, 'image');
  await real.writeFile(path, 'of others');
  const publishing = publishExport(partial, path, { ...complete, force: false });
  await expect(publishing).rejects.toMatchObject({ code: 'exists' });
  expect(await real.readFile(path, 'utf8')).toBe('of others');
  await publishExport(partial, path, { ...complete, force: true });
  expect(await real.readdir(directory)).toEqual(['image']);
  expect(await real.readFile(path, 'utf8')).toBe('image');
});
