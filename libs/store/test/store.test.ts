import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { anyCharacter } from '../../../test/support/any-character.ts';
import { bundled } from '../../../test/support/bundled.ts';
import { storing } from '../error.ts';
import { openStore, resolveDataDirectory, StoreError } from '../index.ts';
import { toTheEnd } from '../to-the-end.ts';
import { hexOf, imageEntry, temporaryDirectory } from './support/fixture.ts';

const run = promisify(execFile);
const withoutOptions = { env: { ...process.env, NODE_OPTIONS: '' } };

/** How to run a program as root for whom a disk that is read-only is at the path: a file system of its own, which nobody else sees. */
function readOnlyAt(path: string, program: string): [string, string[]] {
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const mount = 'mount -t tmpfs -o ro none "$0" && exec "$@"';
  const node = [process.execPath, '--input-type=module', '--eval', program];
  return ['unshare', [...asRoot, '--mount', 'sh', '-c', mount, path, ...node]];
}

describe('openStore', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;

  beforeEach(async () => {
    directory = await temporaryDirectory();
  });
  afterEach(() => directory.remove());

  test('makes its folders, private, and may be called at the same time by many', async () => {
    const path = join(directory.path, 'deep', 'data');
    const [store] = await Promise.all(Array.from({ length: 5 }, () => openStore(path)));
    expect((await readdir(path)).sort()).toEqual(['images', 'layers', 'partial', 'redis', 'rootfs', 'run', 'uploads']);
    for (const name of ['..', '', 'images', 'layers', 'layers/sha256', 'run', 'redis', 'uploads']) {
      expect((await stat(join(path, name))).mode & 0o777).toBe(0o700);
    }
    expect(store?.paths).toEqual({
      redisDirectory: join(path, 'redis'),
      runDirectory: join(path, 'run'),
      apiSocket: join(path, 'run', 'api.sock'),
      redisSocket: join(path, 'run', 'redis.sock'),
      tokenFile: join(path, 'token'),
      usersFile: join(path, 'users.json'),
      secretKeyFile: join(path, 'secret.key'),
    });
  });

  test('closes folders and secrets that were left open, and warns of an open data directory', async () => {
    const modeOf = async (name: string) => (await stat(join(directory.path, name))).mode & 0o777;
    await chmod(directory.path, 0o755);
    for (const name of ['run', 'layers']) await mkdir(join(directory.path, name));
    for (const name of ['token', 'secret.key', 'users.json', 'note']) await writeFile(join(directory.path, name), '');
    for (const name of await readdir(directory.path)) await chmod(join(directory.path, name), 0o755);
    const { warnings } = await openStore(directory.path);
    for (const name of ['run', 'layers']) expect([name, await modeOf(name)]).toEqual([name, 0o700]);
    for (const name of ['token', 'secret.key', 'users.json']) expect([name, await modeOf(name)]).toEqual([name, 0o600]);
    // Not ours.
    expect([await modeOf('note'), await modeOf('.')]).toEqual([0o755, 0o755]);
    expect(warnings).toEqual([expect.stringMatching(/mode 0755: others can see.*; chmod 700 it$/)]);
    await chmod(directory.path, 0o770);
    expect((await openStore(directory.path)).warnings).toEqual([expect.stringContaining('others can replace')]);
    await chmod(directory.path, 0o700);
    expect((await openStore(directory.path)).warnings).toEqual([]);
  });

  test('says so when the data directory cannot be used', async () => {
    await writeFile(join(directory.path, 'file'), '');
    const opening = openStore(join(directory.path, 'file', 'data'));
    await expect(opening).rejects.toMatchObject({ name: 'StoreError', code: 'not_writable' });
    await expect(opening).rejects.toThrow(/--data-dir/);
  });

  test('ends where nobody can make folders, and their parent is said not to be there', async () => {
    await expect(openStore('/proc/none/data')).rejects.toMatchObject({ code: 'not_writable' });
  });

  test('says what keeps it from being made: a disk that is read-only', async () => {
    const disk = join(directory.path, 'disk');
    await mkdir(disk);
    const library = await bundled('libs/store/index.ts', directory.path);
    const program = `import { openStore } from ${JSON.stringify(library)};
      await openStore(${JSON.stringify(join(disk, 'deep', 'data'))}).catch((error) => console.log(error.code, error.message));`;
    const { stdout } = await run(...readOnlyAt(disk, program), withoutOptions);
    expect(stdout).toMatch(/^not_writable .*EROFS/);
  });

  test('knows the free space', async () => {
    expect(await (await openStore(directory.path)).freeBytes()).toBeGreaterThan(0);
  });

  test('lets no digest, owner or name out of its folder', async () => {
    const store = await openStore(directory.path);
    const folders = {
      layers: join(directory.path, 'layers', 'sha256'),
      partial: join(directory.path, 'partial', 'sha256'),
      rootfs: join(directory.path, 'rootfs', 'sha256'),
    };
    const nasty = fc.constantFrom(
      '..',
      '.',
      '',
      '/',
      '../../x',
      'a/b',
      'a\0b',
      'sha256:',
      `sha256:${'A'.repeat(64)}`,
      '.hidden',
    );
    const text = fc.oneof(fc.string({ unit: anyCharacter }), nasty, fc.stringMatching(/^(sha256:)?[0-9a-f]{64}$/));
    const place = (give: () => string): string | undefined => {
      try {
        return give();
      } catch (error) {
        expect(error).toMatchObject({ code: 'invalid_name' });
        return undefined;
      }
    };
    await fc.assert(
      fc.asyncProperty(text, text, async (one, other) => {
        for (const [path, folder] of [
          [place(() => store.layers.directory(one)), folders.layers],
          [place(() => store.partials.path(one)), folders.partial],
          [place(() => dirname(store.rootfs.path(one))), folders.rootfs],
        ]) {
          if (path !== undefined && folder !== undefined) expect(dirname(path)).toBe(folder);
        }
        const outcomes = await Promise.allSettled([
          store.images.get(one, other),
          store.images.delete(one, other),
          store.images.list(one),
          store.images.put(one, imageEntry(other, hexOf('x'))),
        ]);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason.code).toMatch(/^(invalid_name|not_found)$/);
        }
      }),
    );
    expect((await readdir(directory.path)).sort()).toEqual([
      'images',
      'layers',
      'partial',
      'redis',
      'rootfs',
      'run',
      'uploads',
    ]);
    expect(await readdir(join(directory.path, 'images'))).toEqual([]);
  });
});

describe('names', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;

  beforeEach(async () => {
    directory = await temporaryDirectory();
  });
  afterEach(() => directory.remove());

  test('of owners and images are refused before anything is looked for, and told in short', async () => {
    const { images } = await openStore(directory.path);
    const refused = { code: 'invalid_name', retryable: false, message: expect.stringMatching(/^.{1,200}$/) };
    for (const name of ['..', '', '../x', 'a/b', '.hidden', '_x', '-x', 'x\n', 'ä', 'x'.repeat(64), 'x'.repeat(1000)]) {
      for (const [owner, image] of [
        ['ann', name],
        [name, 'python'],
      ] as const) {
        await expect(images.get(owner, image)).rejects.toMatchObject(refused);
        await expect(images.put(owner, imageEntry(image, hexOf('x')))).rejects.toMatchObject(refused);
        await expect(images.delete(owner, image)).rejects.toMatchObject(refused);
      }
      await expect(images.list(name)).rejects.toMatchObject(refused);
    }
    for (const name of ['x', '0', 'A_b-c.d', 'x'.repeat(63)]) expect(await images.get(name, name)).toBeNull();
  });

  test('of content are digests and nothing else', async () => {
    const { layers } = await openStore(directory.path);
    const hex = hexOf('x');
    const refused = expect.objectContaining({ code: 'invalid_name', message: expect.stringMatching(/^.{1,200}$/) });
    for (const text of [`${hex}0`, `0${hex}`, `${hex}/..`, `../${hex}`, `${hex}\n`, hex.toUpperCase(), hex.repeat(9)]) {
      expect(() => layers.directory(text)).toThrow(refused);
    }
    expect(layers.directory(`sha256:${hex}`)).toBe(layers.directory(hex));
  });
});

describe('errors of the disk', () => {
  test('become no_space when it is full', async () => {
    const writing = storing('write', () => writeFile('/dev/full', 'x'));
    await expect(writing).rejects.toMatchObject({ code: 'no_space', retryable: false, cause: { code: 'ENOSPC' } });
    await expect(writing).rejects.toBeInstanceOf(StoreError);
  });

  test('of which there are many are told as the first', async () => {
    const tried: number[] = [];
    const failing = toTheEnd([1, 2, 3], async (number) => {
      tried.push(number);
      if (number > 1) throw new Error(`of ${number}`);
    });
    await expect(failing).rejects.toThrow('of 2');
    expect(tried).toEqual([1, 2, 3]);
  });

  test('keep their cause', async () => {
    const reading = storing('read it', () => readdir('/nowhere/at/all'));
    await expect(reading).rejects.toMatchObject({ code: 'internal', cause: { code: 'ENOENT' } });
  });
});

describe('resolveDataDirectory', () => {
  const home = { HOME: '/home/ann' };

  test('prefers the flag, then the environment', () => {
    expect(resolveDataDirectory({ flag: '/a', env: { ...home, BHATTI_DATA_DIR: '/b' } })).toBe('/a');
    expect(resolveDataDirectory({ flag: '', env: { ...home, BHATTI_DATA_DIR: '/b' } })).toBe('/b');
    expect(resolveDataDirectory({ env: { BHATTI_DATA_DIR: 'relative' } })).toBe(join(process.cwd(), 'relative'));
  });

  test('else takes the system’s folder for root, the XDG data folder for others', () => {
    const chosen = (env: NodeJS.ProcessEnv) => resolveDataDirectory({ env: { ...home, ...env } });
    const user = process.getuid?.();
    if (user === 0) {
      expect(chosen({})).toBe('/var/lib/bhatti');
      return;
    }
    expect(chosen({})).toBe('/home/ann/.local/share/bhatti');
    expect(chosen({ XDG_DATA_HOME: '/xdg' })).toBe('/xdg/bhatti');
    expect(chosen({ XDG_DATA_HOME: 'relative' })).toBe('/home/ann/.local/share/bhatti');
  });

  test('takes that of the user for root, too, where the system’s cannot be written', async () => {
    const { path, remove } = await temporaryDirectory();
    const library = await bundled('libs/store/index.ts', path);
    const choose = `import { resolveDataDirectory } from ${JSON.stringify(library)};
      for (const env of [{}, { XDG_DATA_HOME: '/xdg' }, { XDG_DATA_HOME: 'relative' }])
        console.log(resolveDataDirectory({ env: { HOME: '/home/ann', ...env } }));`;
    const { stdout } = await run(...readOnlyAt('/var/lib', choose), withoutOptions);
    expect(stdout.split('\n')).toEqual([
      '/home/ann/.local/share/bhatti',
      '/xdg/bhatti',
      '/home/ann/.local/share/bhatti',
      '',
    ]);
    await remove();
  });
});
