import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { ApiRecordFile } from '../api-record.ts';

let directory: string;
let path: string;
let file: ApiRecordFile;
let written: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-record-'));
  path = join(directory, 'api.json');
  file = new ApiRecordFile(directory);
  await file.write({ listen: null, taken: null, startedAt: '2026-01-02T03:04:05.678Z' });
  written = await readFile(path, 'utf8');
});
afterEach(async () => {
  await file.remove();
  await rm(directory, { recursive: true });
});

const another = (): string[] => [
  written.replace(JSON.stringify(hostname()), '"another"'),
  written.replace(String(process.pid), '1'),
];

test('a record names host and process, and goes with its API', async () => {
  expect(JSON.parse(written)).toMatchObject({ host: hostname(), pid: process.pid });
  await file.remove();
  expect(await readdir(directory)).toEqual([]);
});

test('an API that did not start leaves the record of one with its host name and pid, in another container', async () => {
  await new ApiRecordFile(directory).remove();
  expect(await readFile(path, 'utf8')).toBe(written);
});

test('a record that is being kept fresh while its API ends goes, too', async () => {
  const refreshed = file.refresh();
  await file.remove();
  await refreshed;
  expect(await readdir(directory)).toEqual([]);
});

test('APIs with the same pid, in two containers, write at the same time', async () => {
  const files = Array.from({ length: 20 }, () => new ApiRecordFile(directory));
  const record = { listen: null, taken: null, startedAt: '2026-01-02T03:04:05.678Z' };
  await Promise.all(files.map((one) => one.write(record)));
  expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject(record);
  await Promise.all(files.map((one) => one.remove()));
  expect(await readdir(directory)).toEqual([]);
});

test('the record of another API stays: two containers may have the same pids', async () => {
  for (const text of another()) {
    const own = new ApiRecordFile(directory);
    await own.write({ listen: null, taken: null, startedAt: '2026-01-02T03:04:05.678Z' });
    await writeFile(path, text);
    await own.remove();
    expect(await readFile(path, 'utf8')).toBe(text);
  }
});

test('only the own record is kept fresh', async () => {
  const modified = async () => (await stat(path)).mtimeMs;
  for (const text of [written, ...another()]) {
    await writeFile(path, text);
    await utimes(path, 1, 1);
    await file.refresh();
    expect((await modified()) > 1000).toBe(text === written);
    expect(await readFile(path, 'utf8')).toBe(text);
  }
});
