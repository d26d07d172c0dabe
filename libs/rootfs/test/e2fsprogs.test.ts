import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bundled, linkForBundles } from '../../../test/support/bundled.ts';
import { checkFileSystem, toolEnvironment } from '../e2fsprogs.ts';
import { makeFileSystem } from '../ext4/mke2fs.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const run = promisify(execFile);

/** Bundles of the library and of its parts, for the programs of these tests. */
let bundles: string;
let library: string;
beforeAll(async () => {
  bundles = await mkdtemp(join(tmpdir(), 'bhatti-bundles-'));
  await linkForBundles(bundles);
  library = await bundled('libs/rootfs/index.ts', bundles);
});
afterAll(() => rm(bundles, { recursive: true }));

/** What a program of JavaScript prints, to which the tools of a folder come first; started by `starter`. */
async function printed(program: string, folder = '/usr/sbin', starter: readonly string[] = []): Promise<string> {
  const path = join(bundles, 'program.mjs');
  await writeFile(path, program);
  const [command = '', ...args] = [...starter, process.execPath, path];
  const PATH = `${folder}:${process.env.PATH}:/usr/sbin:/sbin`;
  return (await run(command, args, { env: { ...process.env, PATH, NODE_OPTIONS: '' } })).stdout;
}

test('without a PATH the tools are looked for in their own folders, and not in the one that somebody works in', () => {
  const { PATH } = process.env;
  try {
    process.env.PATH = '';
    expect(toolEnvironment().PATH).toBe('/usr/local/sbin:/usr/sbin:/sbin');
    delete process.env.PATH;
    expect(toolEnvironment().PATH).toBe('/usr/local/sbin:/usr/sbin:/sbin');
  } finally {
    process.env.PATH = PATH;
  }
});

/** Runs with a tool that a script of sh stands in for. */
async function withTool<T>(tool: string, script: string, use: (directory: string) => Promise<T> | T): Promise<T> {
  return await withTemporaryDirectory(async (directory) => {
    const { PATH } = process.env;
    await writeFile(join(directory, tool), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    try {
      process.env.PATH = `${directory}:${PATH}`;
      return await use(directory);
    } finally {
      process.env.PATH = PATH;
    }
  });
}

const geometry = { blocks: 16384, inodes: 1000, journalMebibytes: 4 };

test.each([
  ['mke2fs', (directory: string) => makeFileSystem(join(directory, 'image'), geometry, '')],
  ['e2fsck', () => checkFileSystem('any')],
] as const)('%s that is killed says nothing of the image, and may be tried again', async (tool, act) => {
  await withTool(tool, 'kill -9 $$', async (directory) => {
    await expect((async () => await act(directory))()).rejects.toMatchObject({
      code: `${tool}_failed`,
      retryable: true,
      message: `${tool} was ended by SIGKILL; did the worker's host run out of memory?`,
    });
  });
});

test.each([
  ['has let go of its file: mke2fs has ended before', 'await setTimeout(0); go(); await built;', 'cancelled true\n'],
  ['does not wait for a mke2fs that hangs', 'await built; go();', 'cancelled false\n'],
])('a build that is cancelled %s', async (_, afterwards, said) => {
  await withTemporaryDirectory(async (directory) => {
    await run('mkfifo', [join(directory, 'go')]);
    await writeFile(
      join(directory, 'mke2fs'),
      `#!/bin/sh\ncd "$(dirname "$0")" && touch started && read -r _ <go && touch ended\n`,
      { mode: 0o755 },
    );
    const program = `import { existsSync, writeFileSync } from 'node:fs';
      import { setTimeout } from 'node:timers/promises';
      import { buildRootfs } from ${JSON.stringify(library)};
      const inFolder = (name) => ${JSON.stringify(join(directory, '/'))} + name;
      const go = () => writeFileSync(inFolder('go'), '\\n');
      const stop = new AbortController();
      const built = buildRootfs({ layers: [], output: inFolder('rootfs.ext4'), signal: stop.signal })
        .catch((error) => console.log(error.code, existsSync(inFolder('ended'))));
      while (!existsSync(inFolder('started'))) await setTimeout(5);
      stop.abort();
      ${afterwards}`;
    expect(await printed(program, directory)).toBe(said);
  });
});

test('a file system with one wrong byte is not clean, and left as it is', async () => {
  await withTemporaryDirectory(async (directory) => {
    const image = join(directory, 'image');
    const uuid = '01234567-89ab-4def-8123-456789abcdef';
    makeFileSystem(image, geometry, uuid);
    await checkFileSystem(image);
    const file = await open(image, 'r+');
    // The free blocks of the first group's descriptor (bg_free_blocks_count_lo).
    await file.write(Buffer.from([0x28]), 0, 1, 4096 + 12);
    await file.close();
    // Twice: nothing is repaired on the way.
    for (const _ of [1, 2]) {
      await expect(checkFileSystem(image)).rejects.toMatchObject({
        code: 'e2fsck_failed',
        retryable: false,
        message: expect.stringMatching(/^the file system that was built is not clean: .*checksum/),
      });
    }
    await expect(checkFileSystem(image, AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' });
  });
});

test('e2fsck that could not do its work says nothing of the image, and may be tried again', async () => {
  const script = 'echo Pass 1\necho e2fsck 1.47.0 >&2\necho "e2fsck: Cannot allocate memory" >&2\nexit 8';
  await withTool('e2fsck', script, async () => {
    await expect(checkFileSystem('any')).rejects.toMatchObject({
      code: 'e2fsck_failed',
      retryable: true,
      message: 'e2fsck could not check the file system: e2fsck: Cannot allocate memory',
    });
  });
});

test.each([
  ['mke2fs: No space left on device', { code: 'no_space' }],
  ['mke2fs: Disk quota exceeded while writing superblock', { code: 'no_space' }],
  ['mke2fs: inode_size (256) * inodes_count too big', { code: 'image_too_large' }],
  ['image: Input/output error while writing superblock', { code: 'internal', cause: { code: 'EIO' } }],
  ['image: Stale file handle while trying to determine its size', { code: 'internal', cause: { code: 'ESTALE' } }],
  ['image: Too many open files while trying to open it', { code: 'internal', cause: { code: 'EMFILE' } }],
  ['mke2fs: Memory allocation failed', { code: 'internal', cause: { code: 'ENOMEM' } }],
  ['image: Permission denied while trying to open it', { code: 'mke2fs_failed' }],
  ['first\nmke2fs: anything else', { code: 'mke2fs_failed', message: 'mke2fs failed: mke2fs: anything else' }],
  ['', { code: 'mke2fs_failed', message: 'mke2fs failed: it gave no reason' }],
])('mke2fs that fails with %j', async (words, failure) => {
  await withTool('mke2fs', `echo '${words}' >&2\nexit 1`, (directory) => {
    expect(() => makeFileSystem(join(directory, 'image'), geometry, '')).toThrow(expect.objectContaining(failure));
  });
});

test('a host that is out of open files is told as that, and not as one without the tools', async () => {
  await withTemporaryDirectory(async (directory) => {
    const at = async (file: string) => JSON.stringify(await bundled(`libs/rootfs/${file}`, bundles));
    const program = `import { closeSync, openSync } from 'node:fs';
      import { checkFileSystem } from ${await at('e2fsprogs.ts')};
      import { makeFileSystem } from ${await at('ext4/mke2fs.ts')};
      const taken = [];
      const take = () => {
        try {
          for (;;) taken.push(openSync('/dev/null'));
        } catch {}
      };
      const tell = (error) => console.log(error.code, error.message, error.cause.code);
      console.log('');
      take();
      await checkFileSystem('any').catch(tell);
      closeSync(taken.pop());
      try {
        makeFileSystem(${JSON.stringify(join(directory, 'image'))}, { blocks: 16384, inodes: 1000, journalMebibytes: 4 }, '');
      } catch (error) {
        tell(error);
      }`;
    const fewFiles = ['sh', '-c', 'ulimit -n 100; exec "$0" "$@"'];
    expect((await printed(program, undefined, fewFiles)).trim().split('\n')).toEqual([
      'internal e2fsck could not be started (EMFILE) EMFILE',
      'internal mke2fs could not be started (EMFILE) EMFILE',
    ]);
  });
});

test('a tool that is not there is named, and the package that has it; another does not matter', async () => {
  // In a mount namespace of its own, where each in turn cannot be executed.
  const program = `import { execFileSync } from 'node:child_process';
    import { requireE2fsprogs } from ${JSON.stringify(library)};
    for (const tool of ['mke2fs', 'e2fsck', 'debugfs']) {
      const path = execFileSync('sh', ['-c', 'readlink -f "$(command -v "$0")"', tool], { encoding: 'utf8' }).trim();
      execFileSync('mount', ['--bind', '/dev/null', path]);
      await requireE2fsprogs().then(() => console.log('there'), (error) => console.log(error.code, error.message));
      execFileSync('umount', [path]);
    }`;
  const lines = (await printed(program, undefined, ['unshare', '--mount'])).trim().split('\n');
  expect(lines).toEqual([
    expect.stringMatching(/^mke2fs_missing mke2fs was not found; install/),
    expect.stringMatching(/^e2fsck_missing e2fsck was not found; install/),
    'there',
  ]);
});
