import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { toolEnvironment } from '../e2fsprogs.ts';
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
