/** What the API itself writes, on a disk that is full: a file takes a name, and no byte. */
import * as real from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, jest, test } from '@jest/globals';

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  writeFile: async (path: string) => {
    await real.writeFile(path, '');
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  },
}));
const { loadToken } = await import('../token-file.ts');
const { writeApiRecord } = await import('../api-record.ts');

test('nothing of a token or a record that could not be written is left', async () => {
  const directory = await real.mkdtemp(join(tmpdir(), 'bhatti-full-'));
  try {
    await expect(loadToken(join(directory, 'token'))).rejects.toMatchObject({ code: 'ENOSPC' });
    const record = { pid: 7, listen: null, startedAt: '2026-01-02T03:04:05.678Z' };
    await expect(writeApiRecord(directory, record)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await real.readdir(directory)).toEqual([]);
  } finally {
    await real.rm(directory, { recursive: true });
  }
});
