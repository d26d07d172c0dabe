import { execFile } from 'node:child_process';
import { type FileHandle, mkdir, open, readFile, rename, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { toolEnvironment } from '../e2fsprogs.ts';
import { patternContent } from './support/content.ts';
import { type BuiltImage, buildImage } from './support/layers.ts';
import { countNames, differences } from './support/listing.ts';
import { fileSystemFaults, listDirectory, listImage, requireMounts, withMounted } from './support/mounted.ts';
import { modelTree } from './support/oci-model.ts';
import type { TarEntry } from './support/tar-entry.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const IMAGE = 96 * MIB;
const NAMES = 2000;
/** cap_chown, effective and permitted: a `vfs_cap_data` of revision 2, as the kernel refuses to show anything else. */
const CAPABILITY = Buffer.from('0100000201000000000000000000000000000000', 'hex');

const file = (path: string, bytes: number): TarEntry => ({
  path,
  type: 'file',
  content: patternContent(bytes, bytes),
});
const layer: TarEntry[] = [
  ...['proc', 'sys', 'dev', 'run', 'tmp'].map((path): TarEntry => ({ path, type: 'directory' })),
  ...Array.from({ length: NAMES }, (_, index) => file(`many/name-${index}`, index % 50)),
  file('large', 9 * MIB + 3),
  { path: 'capable', type: 'file', xattrs: [['security.capability', CAPABILITY]] },
];

const withImage = (sizeBytes: number, use: (image: BuiltImage) => Promise<void>) =>
  withTemporaryDirectory(async (directory) => use(await buildImage(directory, [layer], { sizeBytes })));

beforeAll(requireMounts);

describe('a built image', () => {
  test('takes writes up to its free space, and stays clean', async () => {
    await withImage(IMAGE, async ({ path }) => {
      await withMounted(path, writeAll, { writable: true });
      expect(await fileSystemFaults(path)).toBe('');
      await withMounted(path, async (root) => {
        const { children } = await listDirectory(join(root, 'many'));
        expect(children.size).toBe(NAMES);
        expect([...children.keys()].filter((name) => name.startsWith('new-'))).toHaveLength(NAMES / 2);
      });
    });
  });

  test('has its files in one piece each, and no hole in between; grows with resize2fs, and is then what it was', async () => {
    await withImage(IMAGE, async ({ path }) => {
      await withMounted(path, async (root) => {
        const names = ['large', ...Array.from({ length: 50 }, (_, index) => `many/name-${index}`)];
        const { stdout } = await run('filefrag', names, { cwd: root, env: toolEnvironment() });
        const pieces = stdout
          .trim()
          .split('\n')
          .map((line) => Number(/: (\d+) extents? found$/.exec(line)?.[1]));
        expect(pieces).toHaveLength(names.length);
        expect(pieces[0]).toBe(1);
        expect(pieces.every((count) => count <= 1)).toBe(true);
      });
      const before = await listImage(path);
      await truncate(path, 700 * MIB);
      await run('resize2fs', [path], { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
      expect(await fileSystemFaults(path)).toBe('');
      const after = await listImage(path);
      expect(differences(after, before)).toEqual([]);
      expect(countNames(after)).toBe(countNames(modelTree([layer])));
      await withMounted(path, async (root) => {
        const { bsize, blocks } = await statfs(root);
        expect(blocks * bsize).toBeGreaterThan(600 * MIB);
      });
    });
  });

  test('has directories in which e2fsck -D finds nothing to do: not a byte of them changes', async () => {
    const names = Array.from({ length: 8000 }, (_, index) => `${index}-`.padEnd(255, 'n'));
    const directories: TarEntry[] = [
      // An index of two levels, one of one, a directory that just needs it, and small ones, one with a link to a file before it.
      ...names.map((name) => file(`two-levels/${name}`, 0)),
      ...names.slice(0, 30).map((name) => file(`two-blocks/${name}`, 0)),
      ...['z', 'a'].map((name) => file(`small/${name}`, 1)),
      { path: 'small/link', type: 'link', target: 'many/name-7' },
      { path: 'empty', type: 'directory' },
    ];
    await withTemporaryDirectory(async (directory) => {
      const { path } = await buildImage(directory, [layer, directories], { sizeBytes: IMAGE });
      const { stdout } = await run('debugfs', ['-R', 'htree_dump two-levels', path], {
        env: toolEnvironment(),
        maxBuffer: 16 * MIB,
      });
      expect(stdout).toContain('Indirect levels: 1');
      const before = await readFile(path);
      // By itself it would leave a fifth of each leaf free.
      const E2FSCK_CONFIG = join(directory, 'e2fsck.conf');
      await writeFile(E2FSCK_CONFIG, '[options]\nindexed_dir_slack_percentage = 0\n');
      const checked = await run('e2fsck', ['-fyD', path], { env: { ...toolEnvironment(), E2FSCK_CONFIG } });
      expect(checked.stdout).toContain('Optimizing directories');
      const after = await readFile(path);
      const changed = Array.from({ length: IMAGE / 4096 }, (_, block) => block * 4096).filter(
        (at) => before.compare(after, at, at + 4096, at, at + 4096) !== 0,
      );
      // The superblock says when it was checked.
      expect(changed).toEqual([0]);
    });
  });

  test.each([
    [16 * MIB, 4],
    [IMAGE, 4],
    [512 * MIB, 16],
    [4096 * MIB, 32],
  ])(
    'of %d bytes has a journal of %d MiB, no block reserved, and what e2fsprogs makes by default',
    async (size, journal) => {
      await withTemporaryDirectory(async (directory) => {
        const { path } = await buildImage(directory, [[file('a', 10)]], { sizeBytes: size });
        expect(await superblock(path)).toMatchObject({
          'Block count': String(size / 4096),
          'Reserved block count': '0',
          'Total journal size': expect.stringMatching(`^(${journal}M|${journal * 1024}k)$`),
          'Filesystem state': 'clean',
          'Default directory hash': 'half_md4',
          'Filesystem features': expect.stringMatching(/^has_journal .*dir_index .*extent 64bit .*metadata_csum$/),
        });
      });
    },
  );
});

test('the same layers give the same bytes, whatever the time, the zone and the directory', async () => {
  const zone = process.env.TZ;
  await withTemporaryDirectory(async (directory) => {
    const images: Buffer[] = [];
    for (const TZ of ['UTC', 'Pacific/Auckland']) {
      // File times in whole seconds, were they to be in the image, differ by then.
      if (images.length > 0) await new Promise((resolve) => setTimeout(resolve, 1001));
      process.env.TZ = TZ;
      const scratch = join(directory, `in-${images.length}`.repeat(images.length + 1));
      await mkdir(scratch);
      const { path } = await buildImage(scratch, [layer, [file('many/.wh.name-5', 0)]], { sizeBytes: IMAGE });
      images.push(await readFile(path));
    }
    const [first, second] = images;
    expect(first !== undefined && second !== undefined && first.equals(second)).toBe(true);
  }).finally(() => {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  });
});

/** What dumpe2fs(8) says of the file system, by name. */
async function superblock(path: string): Promise<Record<string, string>> {
  const { stdout } = await run('dumpe2fs', ['-h', path], { env: toolEnvironment() });
  return Object.fromEntries(
    stdout.split('\n').flatMap((line) => {
      const [, name, value] = /^([^:]+):\s+(.*?)\s*$/.exec(line) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value]];
    }),
  );
}

/** Replaces half of the names of an indexed directory, then fills the file system to the last block. */
async function writeAll(root: string): Promise<void> {
  for (let index = 0; index < NAMES; index += 2) {
    await rm(join(root, 'many', `name-${index}`));
    await writeFile(join(root, 'many', `old-${index}`), 'x');
    await rename(join(root, 'many', `old-${index}`), join(root, 'many', `new-${index}`));
  }
  await mkdir(join(root, 'a', 'b', 'c'), { recursive: true });
  const { bavail, bfree, bsize } = await statfs(root);
  // None are reserved but those that the kernel itself keeps back, 2 % of a file system that is mounted.
  expect(bfree - bavail).toBeLessThanOrEqual((0.02 * IMAGE) / bsize);
  const chunk = patternContent(MIB, 1).read(0, MIB);
  const filler = await open(join(root, 'a', 'b', 'c', 'filler'), 'w+');
  try {
    const written = await fill(filler, chunk);
    // A few blocks go to the file's extents, and delayed allocation keeps some back.
    expect(written).toBeGreaterThan(bavail * bsize - MIB);
    for (let at = 0; at + MIB <= written; at += MIB) {
      const { buffer } = await filler.read(Buffer.alloc(MIB), 0, MIB, at);
      if (!buffer.equals(chunk)) throw new Error(`what was written at ${at} is not what is read`);
    }
  } finally {
    await filler.close();
  }
}

/** Writes the chunk again and again until there is no more space. Returns the bytes written. */
async function fill(file: FileHandle, chunk: Buffer): Promise<number> {
  for (let written = 0; ; ) {
    try {
      written += (await file.write(chunk, 0, chunk.length, written)).bytesWritten;
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
      await file.sync();
      return written;
    }
  }
}
