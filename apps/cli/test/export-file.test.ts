import * as real from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

/** What the disk says to fsync(2), once. */
let failure: string | undefined;

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  open: async (path: string, flags: string) => {
    const file = await real.open(path, flags);
    const code = failure;
    failure = undefined;
    if (code !== undefined) file.sync = () => Promise.reject(Object.assign(new Error(`${code}: fsync`), { code }));
    return file;
  },
}));
const { publishExport } = await import('../export-file.ts');

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
  ['EIO', 'not_writable'],
])('what the disk does not take (%s) is told, and not gone on with', async (code, told) => {
  failure = code;
  const publishing = publishExport(partial, join(directory, 'image'), { size: 5, sha256: undefined });
  await expect(publishing).rejects.toMatchObject({ code: told });
  expect(await real.readdir(directory)).toEqual([]);
});

test('a place that is gone by the end is told, and what has arrived is kept', async () => {
  const publishing = publishExport(partial, join(directory, 'gone', 'image'), { size: 5, sha256: undefined });
  await expect(publishing).rejects.toMatchObject({ code: 'not_writable' });
  expect(await real.readdir(directory)).toEqual(['.image.partial']);
});
