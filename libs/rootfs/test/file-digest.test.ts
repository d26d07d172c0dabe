import { createHash } from 'node:crypto';
import { getEventListeners, getMaxListeners } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileDigest } from '@bhatti/rootfs';
import { describe, expect, test } from '@jest/globals';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

describe('the digest of a file', () => {
  test.each([0, 4095, 4096, 3 * 1024 * 1024 + 17])('of %d bytes after a hole is that of its bytes', (length) =>
    withTemporaryDirectory(async (directory) => {
      const path = join(directory, 'file');
      const file = await open(path, 'w');
      await file.write(Buffer.alloc(length, 'content'), 0, length, 2 * 1024 * 1024);
      await file.close();
      const bytes = await readFile(path);
      const { signal } = new AbortController();
      expect(await fileDigest(path, signal)).toBe(createHash('sha256').update(bytes).digest('hex'));
      // Any number of works may have the same signal: Node warns of none.
      expect([getMaxListeners(signal), getEventListeners(signal, 'abort')]).toEqual([Number.POSITIVE_INFINITY, []]);
    }),
  );
});
