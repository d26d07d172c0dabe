import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { PartialFile } from '../download/partial-file.ts';

const run = promisify(execFile);

/** Ms after which a batch that did not fill up is written. */
const LINGER = 20;
const flow = { pause: () => undefined, resume: () => undefined };

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bhatti-partial-'));
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] });
});
afterEach(async () => {
  jest.useRealTimers();
  await rm(folder, { recursive: true });
});

test('writes soon what comes during a write that takes longer than the moment for which a batch waits', async () => {
  const path = join(folder, 'blob');
  let told = (_length: number): void => undefined;
  const written = () =>
    new Promise<number>((resolve) => {
      told = resolve;
    });
  const file = await PartialFile.open(path, (length) => told(length));
  const first = written();
  file.append(Buffer.from('first'), flow);
  jest.advanceTimersByTime(LINGER);
  // The write has begun, and cannot end before this function waits for something.
  file.append(Buffer.from(', second'), flow);
  jest.advanceTimersByTime(LINGER);
  expect(await first).toBe(5);
  const second = written();
  jest.advanceTimersByTime(LINGER);
  expect(await second).toBe(13);
  expect(await readFile(path, 'utf8')).toBe('first, second');
  await file.close();
});

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('skipped: a full disk, because only root can mount a tmpfs\n');

(isRoot ? test : test.skip)(
  'writes nothing more once a write has failed, though the disk has space again',
  async () => {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    try {
      const [path, filler] = [join(folder, 'blob'), join(folder, 'filler')];
      const file = await PartialFile.open(path, () => undefined);
      await writeFile(filler, Buffer.alloc(2 ** 17)).catch(() => {});
      file.append(Buffer.from('lost'), flow);
      jest.advanceTimersByTime(LINGER);
      // During the write that fails.
      file.append(Buffer.from('later'), flow);
      await expect(file.flush()).rejects.toMatchObject({ code: 'no_space' });
      await rm(filler);
      jest.advanceTimersByTime(LINGER);
      await file.close();
      expect(await readFile(path, 'utf8')).toBe('');
    } finally {
      await run('umount', [folder]);
    }
  },
);
