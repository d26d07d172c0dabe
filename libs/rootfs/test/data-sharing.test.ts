/** On real XFS file systems, whose files can share blocks. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildRootfs, fileDigest } from '@bhatti/rootfs';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { patternContent } from './support/content.ts';
import { decodeBlobFile, writeLayer } from './support/layers.ts';
import { requireMounts, withMounted } from './support/mounted.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;

beforeAll(requireMounts);

/** An XFS of 1 GiB, mounted, and a directory elsewhere. */
async function withXfs(options: readonly string[], use: (disk: string, elsewhere: string) => Promise<void>) {
  await withTemporaryDirectory(async (elsewhere) => {
    const image = join(elsewhere, 'disk');
    await writeFile(image, '');
    await truncate(image, 1024 * MIB);
    await run('mkfs.xfs', ['-q', ...options, image]);
    await withMounted(image, (disk) => use(disk, elsewhere), { writable: true, type: 'xfs' });
  });
}

/** Two layers in a directory, of which the upper one replaces what is in the middle of the lower one. The path has a space in it. */
async function decodeLayers(directory: string, elsewhere: string): Promise<string[]> {
  const file = (path: string, size: number, seed: number) =>
    ({ path, type: 'file', content: patternContent(size, seed) }) as const;
  const layers = [
    [file('a', 8 * MIB, 1), file('middle', MIB, 2), file('small', 5000, 3), file('z', 8 * MIB + 1, 4)],
    [file('middle', 2 * MIB, 5), file('tiny', 1, 6)],
  ];
  const home = join(directory, 'of layers');
  await mkdir(home);
  const decoded = layers.map((_, i) => join(home, String(i)));
  for (const [i, entries] of layers.entries())
    await decodeBlobFile(await writeLayer(join(elsewhere, `blob-${i}`), entries), decoded[i] ?? '');
  return decoded;
}

async function freeBytes(disk: string): Promise<number> {
  const { bavail, bsize } = await statfs(disk);
  return bavail * bsize;
}

/** Bytes that are used on a disk, once everything is on it. */
async function usedBytes(disk: string): Promise<number> {
  await run('sync', ['--file-system', disk]);
  return 1024 * MIB - (await freeBytes(disk));
}

test('an image shares its data with the layers: it needs no room for it, and its bytes are the same', async () => {
  await withXfs([], async (disk, elsewhere) => {
    const layers = await decodeLayers(disk, elsewhere);
    const before = await usedBytes(disk);
    // More than is to stay free, and less than the data beside it.
    await run('fallocate', ['--length', String((await freeBytes(disk)) - 72 * MIB), join(disk, 'filler')]);
    await buildRootfs({ layers, output: join(disk, 'shared image') });
    await rm(join(disk, 'filler'));
    expect((await usedBytes(disk)) - before).toBeLessThan(4 * MIB);

    const copied = join(elsewhere, 'copied');
    await buildRootfs({ layers, output: copied });
    expect(await fileDigest(join(disk, 'shared image'))).toEqual(await fileDigest(copied));
  });
});

describe('what cannot be shared is copied', () => {
  const path = process.env.PATH;
  afterEach(() => {
    process.env.PATH = path;
  });

  /** Puts a script of sh in front of xfs_io. */
  async function wrapTool(elsewhere: string, script: string): Promise<void> {
    const bin = join(elsewhere, 'bin');
    await mkdir(bin);
    await writeFile(join(bin, 'xfs_io'), `#!/bin/sh\nPATH='${path}:/usr/sbin:/sbin'\n${script}\n`);
    await chmod(join(bin, 'xfs_io'), 0o755);
    process.env.PATH = `${bin}:${path}`;
  }

  async function expectSameBytes(disk: string, elsewhere: string): Promise<void> {
    const layers = await decodeLayers(disk, elsewhere);
    const outputs = [join(disk, 'image'), join(elsewhere, 'image')] as const;
    for (const output of outputs) await buildRootfs({ layers, output });
    expect(await fileDigest(outputs[0])).toEqual(await fileDigest(outputs[1]));
  }

  test('on a file system that was made without sharing', async () => {
    await withXfs(['-m', 'reflink=0'], expectSameBytes);
  });

  test('when xfs_io ends after the first run of a layer, and fails for the next', async () => {
    await withXfs([], async (disk, elsewhere) => {
      const answer = join(elsewhere, 'answer');
      await wrapTool(elsewhere, `[ -e '${answer}' ] && exit 1\nhead -n 1 | xfs_io "$@" | tee '${answer}'`);
      await expectSameBytes(disk, elsewhere);
      expect(await readFile(answer, 'utf8')).toContain('linked');
    });
  });

  test('not when the build is cancelled: that ends xfs_io', async () => {
    await withXfs([], async (disk, elsewhere) => {
      const layers = await decodeLayers(disk, elsewhere);
      await wrapTool(elsewhere, `echo $$ > '${elsewhere}/pid'\nexec sleep 600`);
      const stop = new AbortController();
      const building = buildRootfs({ layers, output: join(disk, 'image'), signal: stop.signal });
      const pid = await eventually(
        async () => (await readFile(join(elsewhere, 'pid'), 'utf8').catch(() => '')) || undefined,
      );
      stop.abort();
      await expect(building).rejects.toMatchObject({ code: 'cancelled' });
      await eventually(() => !existsSync(`/proc/${pid.trim()}`));
    });
  });
});
