import { appendFile, mkdir, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { rotateLog, trimLog } from '../serve/log-file.ts';

const LARGE = 10_000_000;

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-log-'));
  path = join(directory, 'serve.log');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Bytes at the start of a file. */
async function startOf(file: string, bytes: number): Promise<string> {
  const handle = await open(file);
  const { buffer } = await handle.read(Buffer.alloc(bytes), 0, bytes, 0).finally(() => handle.close());
  return buffer.toString();
}

test('a large log that is written to is copied and emptied, and its writers go on', async () => {
  const writer = await open(path, 'a', 0o600);
  try {
    await writer.write('first\n');
    await trimLog(path, writer.fd);
    expect(await readdir(directory)).toEqual(['serve.log']);
    await truncate(path, LARGE);
    await trimLog(path, writer.fd);
    await writer.write('second\n');
  } finally {
    await writer.close();
  }
  expect(await readFile(path, 'utf8')).toBe('second\n');
  expect(await startOf(`${path}.1`, 6)).toBe('first\n');
  expect((await stat(`${path}.1`)).mode & 0o777).toBe(0o600);
});

test('one that is not where this process writes stays as it is', async () => {
  await writeFile(path, 'first\n');
  await truncate(path, LARGE);
  const writer = await open(join(directory, 'mine'), 'a');
  await trimLog(path, writer.fd).finally(() => writer.close());
  // The descriptor of what is closed is no file at all.
  await trimLog(path, writer.fd);
  expect((await stat(path)).size).toBe(LARGE);
  expect((await readdir(directory)).sort()).toEqual(['mine', 'serve.log']);
});

test('one that cannot be copied stays whole', async () => {
  await mkdir(`${path}.1`);
  const writer = await open(path, 'a');
  await truncate(path, LARGE);
  await trimLog(path, writer.fd).finally(() => writer.close());
  expect((await stat(path)).size).toBe(LARGE);
});

test('before a start a large log is put aside, and a small one continued', async () => {
  expect(await rotateLog(path)).toBe(0);
  await appendFile(path, 'first\n');
  expect(await rotateLog(path)).toBe(6);
  await truncate(path, LARGE);
  expect(await rotateLog(path)).toBe(0);
  expect(await readdir(directory)).toEqual(['serve.log.1']);
});
