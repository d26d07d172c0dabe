import { writeFileSync } from 'node:fs';
import { rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { CachedFile } from '../cached-file.ts';
import { temporaryDirectory } from './support/fixture.ts';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let path: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory.path, 'file');
  await writeFile(path, 'outdated');
});
afterEach(() => directory.remove());

test('who asks while a look is under way, which may have come too early, is told what the next one sees', async () => {
  const parsed: (string | undefined)[] = [];
  let later: Promise<string | undefined>[] = [];
  const file = new CachedFile(path, 'the file', (text) => {
    parsed.push(text);
    // It has been read, and changes before that is told.
    if (parsed.length === 1) {
      writeFileSync(path, 'new');
      later = [file.read(), file.read(), file.read()];
    }
    return text;
  });
  expect(await file.read()).toBe('outdated');
  expect(await Promise.all(later)).toEqual(['new', 'new', 'new']);
  expect(await file.read()).toBe('new');
  expect(parsed).toEqual(['outdated', 'new']);
});

test('what comes after a look that failed is looked at anew', async () => {
  let later: Promise<string | undefined> | undefined;
  const file = new CachedFile(path, 'the file', (text) => {
    if (text !== 'outdated') return text;
    writeFileSync(path, 'new');
    later = file.read();
    throw new Error('it is too old');
  });
  await expect(file.read()).rejects.toThrow('it is too old');
  expect(await later).toBe('new');
  await writeFile(path, 'outdated');
  await expect(file.read()).rejects.toThrow('it is too old');
  expect(await later).toBe('new');
  await rm(path);
  expect(await file.read()).toBeUndefined();
});

test('a copy of the same length that is put back with its time is seen', async () => {
  const time = new Date(Date.UTC(2026, 0, 1));
  await utimes(path, time, time);
  const file = new CachedFile(path, 'the file', (text) => text);
  expect(await file.read()).toBe('outdated');
  const before = await stat(path);
  // Until the clock of the file system has gone on, nothing tells the two apart.
  do {
    await writeFile(path, 'restored');
    await utimes(path, time, time);
  } while ((await stat(path)).ctimeMs === before.ctimeMs);
  expect(await file.read()).toBe('restored');
});
