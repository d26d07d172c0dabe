import { execFile } from 'node:child_process';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { checkFileSystem, toolEnvironment } from '../e2fsprogs.ts';
import { makeFileSystem } from '../ext4/mke2fs.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const run = promisify(execFile);
const library = new URL('../index.ts', import.meta.url);

/** Hides the tool from one process and its children: in a mount namespace of their own it cannot be executed. */
async function requiredWithout(tool: string): Promise<string> {
  const hide = 'mount --bind /dev/null "$(readlink -f "$(command -v "$0")")" && exec "$@"';
  const program = `import { requireE2fsprogs } from ${JSON.stringify(library.href)};
    await requireE2fsprogs().then(() => console.log('there'), (error) => console.log(error.code, error.retryable, error.message));`;
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '--eval', program];
  const { stdout } = await run('unshare', ['--mount', 'sh', '-c', hide, tool, ...node], {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, NODE_OPTIONS: '' },
  });
  return stdout.trim();
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

test.each(['mke2fs', 'e2fsck'])('%s that is killed says nothing of the image, and may be tried again', async (tool) => {
  await withTemporaryDirectory(async (directory) => {
    await mkdir(join(directory, 'bin'));
    await writeFile(join(directory, 'bin', tool), '#!/bin/sh\nkill -9 $$\n', { mode: 0o755 });
    const program = join(directory, 'program.mts');
    await writeFile(
      program,
      `import { buildRootfs } from ${JSON.stringify(library.href)};
      await buildRootfs({ layers: [], output: ${JSON.stringify(join(directory, 'rootfs.ext4'))} })
        .catch((error) => console.log(error.code, error.retryable, error.message));`,
    );
    const { stdout } = await run(process.execPath, ['--import', 'tsx', program], {
      env: { ...process.env, PATH: `${join(directory, 'bin')}:${process.env.PATH}`, NODE_OPTIONS: '' },
    });
    expect(stdout).toBe(`${tool}_failed true ${tool} was ended by SIGKILL; did the worker's host run out of memory?\n`);
  });
});

test.each([
  ['has let go of its file: mke2fs has ended before', 'await setTimeout(0); go(); await built;', 'cancelled true\n'],
  ['does not wait for a mke2fs that hangs', 'await built; go();', 'cancelled false\n'],
])('a build that is cancelled %s', async (_, afterwards, said) => {
  await withTemporaryDirectory(async (directory) => {
    await mkdir(join(directory, 'bin'));
    await writeFile(
      join(directory, 'bin', 'mke2fs'),
      `#!/bin/sh\ncd "$(dirname "$0")" && touch started && until [ -e go ]; do sleep 0.01; done && touch ended\n`,
      { mode: 0o755 },
    );
    const program = join(directory, 'program.mts');
    await writeFile(
      program,
      `import { existsSync, writeFileSync } from 'node:fs';
      import { setTimeout } from 'node:timers/promises';
      import { buildRootfs } from ${JSON.stringify(library.href)};
      const inFolder = (name) => ${JSON.stringify(join(directory, 'bin/'))} + name;
      const go = () => writeFileSync(inFolder('go'), '');
      const stop = new AbortController();
      const built = buildRootfs({ layers: [], output: inFolder('rootfs.ext4'), signal: stop.signal })
        .catch((error) => console.log(error.code, existsSync(inFolder('ended'))));
      while (!existsSync(inFolder('started'))) await setTimeout(5);
      stop.abort();
      ${afterwards}`,
    );
    const { stdout } = await run(process.execPath, ['--import', 'tsx', program], {
      env: { ...process.env, PATH: `${join(directory, 'bin')}:${process.env.PATH}`, NODE_OPTIONS: '' },
    });
    expect(stdout).toBe(said);
  });
});

test('a file system with one wrong byte is not clean, and left as it is', async () => {
  await withTemporaryDirectory(async (directory) => {
    const image = join(directory, 'image');
    const uuid = '01234567-89ab-4def-8123-456789abcdef';
    makeFileSystem(image, { blocks: 16384, inodes: 1000, journalMebibytes: 4 }, uuid);
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
  await withTemporaryDirectory(async (directory) => {
    const { PATH } = process.env;
    const script =
      '#!/bin/sh\necho Pass 1\necho e2fsck 1.47.0 >&2\necho "e2fsck: Cannot allocate memory" >&2\nexit 8\n';
    await writeFile(join(directory, 'e2fsck'), script, { mode: 0o755 });
    try {
      process.env.PATH = `${directory}:${PATH}`;
      await expect(checkFileSystem('any')).rejects.toMatchObject({
        code: 'e2fsck_failed',
        retryable: true,
        message: 'e2fsck could not check the file system: e2fsck: Cannot allocate memory',
      });
    } finally {
      process.env.PATH = PATH;
    }
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
  await withTemporaryDirectory(async (directory) => {
    const { PATH } = process.env;
    await writeFile(join(directory, 'mke2fs'), `#!/bin/sh\necho '${words}' >&2\nexit 1\n`, { mode: 0o755 });
    try {
      process.env.PATH = `${directory}:${PATH}`;
      const geometry = { blocks: 16384, inodes: 1000, journalMebibytes: 4 };
      expect(() => makeFileSystem(join(directory, 'image'), geometry, '')).toThrow(expect.objectContaining(failure));
    } finally {
      process.env.PATH = PATH;
    }
  });
});

test('a host that is out of open files is told as that, and not as one without the tools', async () => {
  await withTemporaryDirectory(async (directory) => {
    const program = join(directory, 'program.mts');
    const at = (file: string) => JSON.stringify(new URL(`../${file}`, import.meta.url).href);
    await writeFile(
      program,
      `import { closeSync, openSync } from 'node:fs';
      import { checkFileSystem } from ${at('e2fsprogs.ts')};
      import { makeFileSystem } from ${at('ext4/mke2fs.ts')};
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
      }`,
    );
    const command = 'ulimit -n 100; exec "$0" "$@"';
    const { stdout } = await run('sh', ['-c', command, process.execPath, '--import', 'tsx', program], {
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    expect(stdout.trim().split('\n')).toEqual([
      'internal e2fsck could not be started (EMFILE) EMFILE',
      'internal mke2fs could not be started (EMFILE) EMFILE',
    ]);
  });
});

describe('a host without e2fsprogs', () => {
  test.each(['mke2fs', 'e2fsck'])('%s that is not there is named, and the package that has it', async (tool) => {
    expect(await requiredWithout(tool)).toMatch(
      new RegExp(`^${tool}_missing (true|false) ${tool} was not found; install`),
    );
  });

  test('another tool that is not there does not matter', async () => {
    expect(await requiredWithout('debugfs')).toBe('there');
  });
});
