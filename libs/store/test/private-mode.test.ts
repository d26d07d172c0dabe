import { execFile } from 'node:child_process';
import { chmod, chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { openStore } from '../index.ts';
import { temporaryDirectory } from './support/fixture.ts';

const run = promisify(execFile);

/** What makes a file that others may read unchangeable, also for root, and what undoes that. */
const ways = [
  {
    refusal: 'EROFS',
    how: 'mounted read-only, as orchestrators mount secrets',
    make: async (path: string) => {
      await run('mount', ['--bind', path, path]);
      await run('mount', ['-o', 'remount,bind,ro', path]);
    },
    undo: (path: string) => run('umount', [path]),
  },
  {
    refusal: 'EPERM',
    how: 'made immutable',
    make: (path: string) => run('chattr', ['+i', path]),
    undo: (path: string) => run('chattr', ['-i', path]),
  },
] as const;

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('skipped: secrets that cannot be changed, because only root can make them\n');

test.each([
  ['0640', 0o640],
  ['0604', 0o604],
  ['0601', 0o601],
  ['0400', 0o400],
])('a secret of mode %s is its owner’s alone once the store is opened', async (_octal, mode) => {
  const directory = await temporaryDirectory();
  const path = join(directory.path, 'token');
  await writeFile(path, '');
  await chmod(path, mode);
  await openStore(directory.path);
  // What is closed already stays as its operator made it.
  expect((await stat(path)).mode & 0o777).toBe(mode === 0o400 ? 0o400 : 0o600);
  await directory.remove();
});

test.each([
  ['0710', 'see', 0o710],
  ['0701', 'see', 0o701],
  ['0730', 'replace', 0o730],
  ['0703', 'replace', 0o703],
])('a data directory of mode %s is warned of: others can %s what is in it', async (_octal, what, mode) => {
  const directory = await temporaryDirectory();
  await chmod(directory.path, mode);
  expect((await openStore(directory.path)).warnings).toEqual([expect.stringContaining(`others can ${what} what`)]);
  await directory.remove();
});

(isRoot ? describe : describe.skip)('a secret that is open to others, and cannot be changed', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let path: string;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    path = join(directory.path, 'secret.key');
    await writeFile(path, 'key');
    await chmod(path, 0o644);
  });
  afterEach(() => directory.remove());

  const mode = async () => (await stat(path)).mode & 0o777;

  test.each(ways)('$how ($refusal), is left as it is', async ({ refusal, make, undo }) => {
    await make(path);
    try {
      await expect(chmod(path, 0o600)).rejects.toMatchObject({ code: refusal });
      await openStore(directory.path);
      expect(await mode()).toBe(0o644);
    } finally {
      await undo(path);
    }
    await openStore(directory.path);
    expect(await mode()).toBe(0o600);
  });

  test('another user’s, is left to that user', async () => {
    await chown(path, 12_345, 12_345);
    await openStore(directory.path);
    expect(await mode()).toBe(0o644);
  });

  test('with its whole data directory, is not reached: the store says that it cannot write there', async () => {
    await openStore(directory.path);
    await run('mount', ['--bind', directory.path, directory.path]);
    try {
      await run('mount', ['-o', 'remount,bind,ro', directory.path]);
      const opening = openStore(directory.path);
      await expect(opening).rejects.toMatchObject({ code: 'not_writable' });
      await expect(opening).rejects.toThrow(/EROFS.*--data-dir/);
    } finally {
      await run('umount', [directory.path]);
    }
  });
});
