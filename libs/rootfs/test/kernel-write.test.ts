import { execFile } from 'node:child_process';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, mkdir, mkdtemp, open, readFile, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { buildRootfs } from '@bhatti/rootfs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { toolEnvironment } from '../e2fsprogs.ts';
import { patternContent } from './support/content.ts';
import { entriesAt, layerEntry } from './support/layer-entries.ts';
import { buildImage, layerOfEntries } from './support/layers.ts';
import { countNames, differences } from './support/listing.ts';
import { listImage, requireMounts, withMounted } from './support/mounted.ts';
import { modelTree } from './support/oci-model.ts';
import type { TarEntry } from './support/tar-entry.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const IMAGE = 40 * MIB;
const NAMES = 1000;
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

beforeAll(requireMounts);

describe('images of the same layers', () => {
  const layers = [layer, [file('many/.wh.name-5', 0)]];
  const zone = process.env.TZ;
  let directory: string;
  let images: readonly [string, string];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bhatti-rootfs-'));
    const build = async (name: string, TZ: string) => {
      process.env.TZ = TZ;
      const scratch = join(directory, name);
      await mkdir(scratch);
      return (await buildImage(scratch, layers, { sizeBytes: IMAGE })).path;
    };
    const first = await build('first', 'UTC');
    // File times in whole seconds, were they to be in the image, differ by then.
    await setTimeout(1001);
    images = [first, await build('the-other', 'Pacific/Auckland')];
  });
  afterAll(async () => {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
    await rm(directory, { recursive: true });
  });

  test('are the same bytes, whatever the time, the zone and the directory', async () => {
    await run('cmp', [...images]);
  });

  test('take writes up to their free space, and stay clean', async () => {
    const [path] = images;
    await withMounted(path, writeAll, { writable: true });
    const { children } = await listImage(path);
    const names = [...(children.get('many')?.children.keys() ?? [])];
    expect(names).toHaveLength(NAMES - 1);
    expect(names.filter((name) => name.startsWith('new-'))).toHaveLength(NAMES / 2);
  });

  test('have their files in one piece each, and no hole in between; grow with resize2fs, and are then what they were', async () => {
    const [, path] = images;
    await withMounted(path, async (root) => {
      const names = ['large', ...Array.from({ length: 50 }, (_, index) => `many/name-${index + 6}`)];
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
    const after = await listImage(path);
    expect(differences(after, before)).toEqual([]);
    expect(countNames(after)).toBe(countNames(modelTree(layers)));
    expect(await superblock(path)).toMatchObject({ 'Block count': String((700 * MIB) / 4096) });
  });
});

describe('a built image', () => {
  test('has directories in which e2fsck -D finds nothing to do: not a byte of them changes', async () => {
    const names = Array.from({ length: 8000 }, (_, index) => `${index}-`.padEnd(255, 'n'));
    // An index of two levels, one of one, a directory that just needs it, and small ones, one with a link to a file before it.
    const files = [
      ...layer.filter(({ type }) => type === 'file').map(({ path }) => String(path)),
      ...names.map((name) => `two-levels/${name}`),
      ...names.slice(0, 30).map((name) => `two-blocks/${name}`),
      ...['small/z', 'small/a'],
    ];
    const directories = [
      ...entriesAt(files, file('', 0)),
      layerEntry({ path: 'small/link', type: 'link', target: 'many/name-7' }),
      layerEntry({ path: 'empty', type: 'directory' }),
    ];
    await withTemporaryDirectory(async (directory) => {
      const path = join(directory, 'rootfs.ext4');
      await buildRootfs({ layers: [await layerOfEntries(directory, directories)], output: path, sizeBytes: 24 * MIB });
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
      const changed = Array.from({ length: before.length / 4096 }, (_, block) => block * 4096).filter(
        (at) => before.compare(after, at, at + 4096, at, at + 4096) !== 0,
      );
      // The superblock says when it was checked.
      expect(changed).toEqual([0]);
    });
  });

  test.each([
    [16 * MIB, 4],
    [96 * MIB, 4],
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

test('no inode table of an image is left for the kernel of a sandbox to zero', async () => {
  await withTemporaryDirectory(async (directory) => {
    const { path } = await buildImage(directory, [[file('a', 10)]], { sizeBytes: 512 * MIB });
    const { stdout } = await run('dumpe2fs', [path], { env: toolEnvironment() });
    const groups = stdout.split('\n').filter((line) => /^Group \d+: /.test(line));
    expect(groups).toHaveLength(4);
    for (const group of groups) expect(group).toContain('ITABLE_ZEROED');
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
    rmSync(join(root, 'many', `name-${index}`));
    writeFileSync(join(root, 'many', `old-${index}`), 'x');
    renameSync(join(root, 'many', `old-${index}`), join(root, 'many', `new-${index}`));
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
    const buffer = Buffer.alloc(MIB);
    for (let at = 0; at + MIB <= written; at += MIB) {
      await filler.read(buffer, 0, MIB, at);
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
