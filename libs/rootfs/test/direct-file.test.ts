import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { alignedBuffer, DirectFile } from '../ext4/direct-file.ts';

const MIB = 1024 * 1024;
const SIZE = 24 * MIB;
let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-direct-'));
  path = join(directory, 'image');
  await writeFile(path, '');
  await truncate(path, SIZE);
});

afterEach(() => rm(directory, { recursive: true }));

/** Writes 18 MiB in the middle of the file, two writes at a time; returns what the file has to hold. */
async function writeMuch(file: DirectFile): Promise<Buffer> {
  const expected = Buffer.alloc(SIZE);
  let at = 2 * MIB;
  const lane = async () => {
    const buffer = alignedBuffer(MIB);
    while (at < 20 * MIB) {
      const position = at;
      at += MIB;
      randomBytes(MIB).copy(buffer);
      buffer.copy(expected, position);
      await file.write(buffer, MIB, position);
    }
  };
  await Promise.all([lane(), lane()]);
  // A block, as the end of a run may be.
  const buffer = alignedBuffer(MIB);
  buffer.fill(7);
  buffer.copy(expected, 22 * MIB, 0, 4096);
  await file.write(buffer, 4096, 22 * MIB);
  return expected;
}

test('what is written past the page cache is in the file, and nothing else is', async () => {
  const file = await DirectFile.open(path, { fastEnough: 0 });
  const expected = await writeMuch(file);
  await file.close();
  expect(expected.equals(await readFile(path))).toBe(true);
});

test('a disk that is too slow is left to the page cache, and no byte is lost over it', async () => {
  const file = await DirectFile.open(path, { trial: 0, fastEnough: Number.POSITIVE_INFINITY });
  const expected = await writeMuch(file);
  expect(file.isDirect).toBe(false);
  await file.close();
  expect(expected.equals(await readFile(path))).toBe(true);
});

test('memory that is not aligned is written all the same', async () => {
  const file = await DirectFile.open(path, { fastEnough: 0 });
  const bytes = randomBytes(3 * 4096);
  const buffer = alignedBuffer(65_536).subarray(1, 1 + bytes.length);
  bytes.copy(buffer);
  await file.write(buffer, bytes.length, 8192);
  await file.close();
  expect((await readFile(path)).subarray(8192, 8192 + bytes.length)).toEqual(bytes);
});

test('a file that is not there is an error', async () => {
  await expect(DirectFile.open(join(directory, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' });
});
