import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { loadSecretKey } from '../index.ts';

describe('loadSecretKey', () => {
  let directory: string;
  let path: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bhatti-key-'));
    path = join(directory, 'secret.key');
  });
  afterEach(() => rm(directory, { recursive: true }));

  test('makes one key, whoever comes at the same time, private to its user', async () => {
    const keys = await Promise.all(Array.from({ length: 20 }, () => loadSecretKey({ path, env: {} })));
    const texts = new Set(keys.map((key) => key.export().toString('hex')));
    expect(texts.size).toBe(1);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['secret.key']);
  });

  test('reads it again', async () => {
    const made = await loadSecretKey({ path, env: {} });
    const read = await loadSecretKey({ path, env: {} });
    expect(read.equals(made)).toBe(true);
  });

  const bytes = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 8 - 1 && (index * 37) % 256));
  test.each([
    ['hex', bytes.toString('hex')],
    ['hex in capitals', bytes.toString('hex').toUpperCase()],
    ['base64', bytes.toString('base64')],
    ['base64url', bytes.toString('base64url')],
    ['a line of base64', `${bytes.toString('base64')}\n`],
  ])('takes BHATTI_SECRET_KEY as %s, before the file', async (_form, text) => {
    const key = await loadSecretKey({ path, env: { BHATTI_SECRET_KEY: text } });
    expect(key.export()).toEqual(bytes);
    expect(await readdir(directory)).toEqual([]);
  });

  test('takes the file where BHATTI_SECRET_KEY is empty, as Docker Compose leaves what is not set', async () => {
    const made = await loadSecretKey({ path, env: {} });
    expect((await loadSecretKey({ path, env: { BHATTI_SECRET_KEY: '' } })).equals(made)).toBe(true);
  });

  test.each([
    'short',
    'ab'.repeat(31),
    `${'ab'.repeat(32)}!`,
    `${'A'.repeat(43)}!`,
    `!${'A'.repeat(43)}`,
    'pass phrase that is long enough but no key at all',
  ])('refuses %j, and does not repeat it', async (text) => {
    const loading = loadSecretKey({ path, env: { BHATTI_SECRET_KEY: text } });
    await expect(loading).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(loading).rejects.not.toThrow(text);
  });

  test('does not replace a file that holds something else', async () => {
    await writeFile(path, 'notes of mine\n');
    await expect(loadSecretKey({ path, env: {} })).rejects.toMatchObject({ code: 'invalid_request' });
    expect(await readFile(path, 'utf8')).toBe('notes of mine\n');
  });

  test.each([
    ['an empty file', (path: string) => writeFile(path, '')],
    ['half a key', (path: string) => writeFile(path, randomBytes(16).toString('hex'))],
    ['bytes', (path: string) => writeFile(path, randomBytes(32))],
    ['a folder', (path: string) => mkdir(path)],
  ])('refuses %s in its place, and says where and what to do', async (_what, make) => {
    await make(path);
    const loading = loadSecretKey({ path, env: {} });
    await expect(loading).rejects.toMatchObject({ name: 'TaskError', code: 'invalid_request', retryable: false });
    await expect(loading).rejects.toThrow(new RegExp(`^${path}.*(?:remove the file|a file that this user may read)`));
  });
});
