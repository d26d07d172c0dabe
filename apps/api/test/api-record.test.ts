import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { removeApiRecord, writeApiRecord } from '../api-record.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-record-'));
});
afterEach(() => rm(directory, { recursive: true }));

test('a record names its host, and is removed by who wrote it alone: the processes of two containers may have one id', async () => {
  await writeApiRecord(directory, { pid: 7, listen: null, taken: null, startedAt: '2026-01-02T03:04:05.678Z' });
  const path = join(directory, 'api.json');
  const written = await readFile(path, 'utf8');
  expect(JSON.parse(written)).toMatchObject({ host: hostname(), pid: 7 });
  await writeFile(path, written.replace(JSON.stringify(hostname()), '"another"'));
  await removeApiRecord(directory, 7);
  expect(await readdir(directory)).toEqual(['api.json']);
  await writeFile(path, written);
  await removeApiRecord(directory, 8);
  expect(await readdir(directory)).toEqual(['api.json']);
  await removeApiRecord(directory, 7);
  expect(await readdir(directory)).toEqual([]);
});
