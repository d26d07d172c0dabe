/** A disk that is full: a file takes a name, and no byte. */
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
const { loadSecretKey } = await import('../secret-key.ts');

test('nothing of a key that could not be written is left', async () => {
  const directory = await real.mkdtemp(join(tmpdir(), 'bhatti-key-'));
  try {
    await expect(loadSecretKey({ path: join(directory, 'secret.key'), env: {} })).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    expect(await real.readdir(directory)).toEqual([]);
  } finally {
    await real.rm(directory, { recursive: true });
  }
});
