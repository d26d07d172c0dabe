import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadToken } from '../access/token-file.ts';

describe('loadToken', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bhatti-token-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test('makes it once, readable by its owner only', async () => {
    const path = join(directory, 'token');
    const token = await loadToken(path);
    expect(token).toMatch(/^bht_[A-Za-z0-9]{40}$/);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readFile(path, 'utf8')).toBe(`${token}\n`);
    expect(await loadToken(path)).toBe(token);
  });

  test('many that start together agree', async () => {
    const path = join(directory, 'token');
    const tokens = await Promise.all(Array.from({ length: 20 }, () => loadToken(path)));
    expect(new Set(tokens).size).toBe(1);
    expect(await readdir(directory)).toEqual(['token']);
  });

  test('does not replace what it does not understand', async () => {
    const path = join(directory, 'token');
    await writeFile(path, 'my own\n');
    await expect(loadToken(path)).rejects.toThrow(/does not hold a token/);
    expect(await readFile(path, 'utf8')).toBe('my own\n');
  });

  test('names a directory that is in the place of the file', async () => {
    const path = join(directory, 'token');
    await mkdir(path);
    await expect(loadToken(path)).rejects.toThrow(`${path} is a directory, where a file has to be`);
  });
});
