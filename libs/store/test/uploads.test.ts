import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { openStore, type Store } from '../index.ts';
import { ownIdentity } from '../process-identity.ts';
import { parseTemporaryName, temporaryName } from '../temporary-name.ts';
import { Uploads } from '../uploads.ts';
import { temporaryDirectory } from './support/fixture.ts';

describe('uploads', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;
  let folder: string;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
    folder = join(directory.path, 'uploads');
  });
  afterEach(() => directory.remove());

  test('are there once they are whole, for their owner only', async () => {
    let during: string[] = [];
    async function* content() {
      yield Buffer.from('one ');
      during = await readdir(folder);
      yield Buffer.from('two');
    }
    expect(await store.uploads.receive('tsk_a', content())).toBe(7);
    expect(during).toEqual([expect.stringMatching(/^\.tmp~/)]);
    expect(await readdir(folder)).toEqual(['tsk_a']);
    expect(await readFile(store.uploads.path('tsk_a'), 'utf8')).toBe('one two');
    expect((await stat(store.uploads.path('tsk_a'))).mode & 0o777).toBe(0o600);
    expect(await store.uploads.size('tsk_a')).toBe(7);
    await store.uploads.remove('tsk_a');
    expect(await store.uploads.size('tsk_a')).toBeUndefined();
    await store.uploads.remove('tsk_a');
  });

  test('are announced when all of them is written, before they are there, and not there if that is refused', async () => {
    const archive = () => Readable.from([Buffer.from('archive')]);
    const refusal = new Error('the task is gone');
    const refused = store.uploads.receive('tsk_a', archive(), async () => {
      const [name = '', ...rest] = await readdir(folder);
      expect([parseTemporaryName(name), rest]).toEqual([await ownIdentity(), []]);
      expect(await readFile(join(folder, name), 'utf8')).toBe('archive');
      throw refusal;
    });
    await expect(refused).rejects.toBe(refusal);
    expect(await readdir(folder)).toEqual([]);
  });

  test('are refused where they would not leave enough, be they as small as they are, or large and late', async () => {
    const mebibyte = 1024 * 1024;
    let free = 64 * mebibyte + 9;
    const uploads = new Uploads(folder, async () => free);
    const full = { code: 'no_space', retryable: false };
    await expect(uploads.receive('tsk_a', Readable.from([Buffer.alloc(10)]))).rejects.toMatchObject(full);
    expect(await uploads.receive('tsk_a', Readable.from([Buffer.alloc(9)]))).toBe(9);
    free = 96 * mebibyte;
    async function* content() {
      yield Buffer.alloc(32 * mebibyte);
      free = 0;
      yield Buffer.alloc(32 * mebibyte);
    }
    await expect(uploads.receive('tsk_b', content())).rejects.toMatchObject(full);
    expect(await readdir(folder)).toEqual(['tsk_a']);
  });

  test('that break off leave nothing', async () => {
    async function* content() {
      yield Buffer.from('half');
      throw new Error('gone');
    }
    await expect(store.uploads.receive('tsk_a', content())).rejects.toThrow('gone');
    expect(await readdir(folder)).toEqual([]);
  });

  test('that break off are told of as that, also where what came of them cannot be removed', async () => {
    async function* content() {
      yield Buffer.from('half');
      const [name = ''] = await readdir(folder);
      await unlink(join(folder, name));
      await mkdir(join(folder, name));
      throw new Error('gone');
    }
    await expect(store.uploads.receive('tsk_a', content())).rejects.toThrow('gone');
  });

  test('end when the disk fills, before it is full, and leave nothing', async () => {
    let free = 200 * 1024 * 1024;
    const uploads = new Uploads(folder, async () => free);
    let sent = 0;
    async function* content() {
      for (; sent < 300; sent += 1) {
        free -= 1024 * 1024;
        yield Buffer.alloc(1024 * 1024);
      }
    }
    await expect(uploads.receive('tsk_a', content())).rejects.toMatchObject({ code: 'no_space', retryable: false });
    expect(sent).toBeGreaterThan(100);
    expect(free).toBeGreaterThan(0);
    expect(await readdir(folder)).toEqual([]);
    await expect(uploads.requireRoom(free)).rejects.toMatchObject({ code: 'no_space' });
    free = 66_793_472;
    await expect(uploads.requireRoom(0)).rejects.toThrow(
      '68 MB have to be free, as 64 MiB always stay so, and 66 MB are;',
    );
  });

  test.each(['../a', '', '.hidden', 'a/b'])('cannot be called %j', (id) => {
    expect(() => store.uploads.path(id)).toThrow(/is not a valid upload/);
  });

  test('of a process that died are collected, with what it unpacked', async () => {
    const child = spawn('true', { stdio: 'ignore' });
    await once(child, 'exit');
    const dead = temporaryName({ ...(await ownIdentity()), pid: child.pid ?? 0, startTime: '1' });
    await writeFile(join(folder, dead), 'half');
    const alive = await store.uploads.makeScratch();
    expect((await stat(alive)).mode & 0o777).toBe(0o700);
    await store.uploads.receive('tsk_a', Readable.from([Buffer.from('whole')]));
    await store.collectOrphans();
    expect((await readdir(folder)).map((name) => join(folder, name)).sort()).toEqual(
      [alive, store.uploads.path('tsk_a')].sort(),
    );
    expect(await store.uploads.list()).toEqual(['tsk_a']);
  });

  test('are told apart from what others have put beside them', async () => {
    await store.uploads.receive('tsk_a', Readable.from([Buffer.from('one')]));
    await mkdir(join(folder, 'unpacked'));
    for (const name of ['.DS_Store', 'a copy', 'x'.repeat(80)]) await writeFile(join(folder, name), '');
    expect(await store.uploads.list()).toEqual(['tsk_a']);
  });
});
