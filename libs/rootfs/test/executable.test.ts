import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { findExecutable } from '../executable.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-executable-'));
  for (const name of ['folder', 'plain', 'good', 'link']) await mkdir(join(directory, name));
  await mkdir(join(directory, 'folder', 'tool'));
  await writeFile(join(directory, 'plain', 'tool'), '', { mode: 0o644 });
  await writeFile(join(directory, 'good', 'tool'), '', { mode: 0o755 });
  await symlink(join(directory, 'good', 'tool'), join(directory, 'link', 'tool'));
});
afterAll(() => rm(directory, { recursive: true }));

const find = (...folders: string[]) => findExecutable('tool', folders.map((name) => join(directory, name)).join(':'));

test('the first that can be run is found: no folder, no file without leave, and through links', async () => {
  expect((await find('nowhere', 'folder', 'plain', 'good'))?.path).toBe(join(directory, 'good', 'tool'));
  expect((await find('link', 'good'))?.path).toBe(join(directory, 'link', 'tool'));
  expect(await find('nowhere', 'folder', 'plain')).toBeUndefined();
});

test('a file that was changed or replaced is another one', async () => {
  const before = await find('good');
  expect((await find('good'))?.identity).toBe(before?.identity);
  await writeFile(join(directory, 'good', 'tool'), 'another');
  await chmod(join(directory, 'good', 'tool'), 0o700);
  expect((await find('good'))?.identity).not.toBe(before?.identity);
});
