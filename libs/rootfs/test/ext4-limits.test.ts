import { execFile } from 'node:child_process';
import { mkdir, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildRootfs } from '@bhatti/rootfs';
import { beforeAll, expect, test } from '@jest/globals';
import { toolEnvironment } from '../e2fsprogs.ts';
import { BlockGroups } from '../ext4/block-groups.ts';
import { LOST_AND_FOUND_INODE, ROOT_INODE } from '../ext4/format.ts';
import { fileSystemGeometry } from '../ext4/geometry.ts';
import { ImageFile } from '../ext4/image-file.ts';
import { makeFileSystem } from '../ext4/mke2fs.ts';
import type { LayerEntry } from '../layer/entry.ts';
import { entriesAt, layerEntry, pathsIn } from './support/layer-entries.ts';
import { layerOfEntries } from './support/layers.ts';
import { fileSystemFaults, listImage, requireMounts, withMounted } from './support/mounted.ts';
import type { TarEntry } from './support/tar-entry.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

/** Where ext4 itself ends: each is either kept, or told in an error that names the entry. */
const run = promisify(execFile);
const SECOND = 1_000_000_000n;

/** Builds an image of one layer's entries, which have no content. It is clean: `buildRootfs` fails if e2fsck finds something. */
async function build(directory: string, entries: Iterable<LayerEntry>, sizeBytes?: number): Promise<string> {
  const layer = await layerOfEntries(directory, entries);
  const output = join(layer, 'rootfs.ext4');
  await buildRootfs({ layers: [layer], output, sizeBytes });
  return output;
}

beforeAll(requireMounts);

test('a file has up to 65,000 hard links; more are an error that names it', async () => {
  await withTemporaryDirectory(async (directory) => {
    const first = layerEntry({ path: 'd/first', type: 'file' });
    const link: TarEntry = { path: 'd/link', type: 'link', target: 'd/first' };
    const layer = await layerOfEntries(directory, [first, ...entriesAt(pathsIn('d', 64_999), link)]);
    const path = join(directory, 'rootfs.ext4');
    await buildRootfs({ layers: [layer], output: path });
    const { stdout } = await run('debugfs', ['-R', 'stat d/64998', path], { env: toolEnvironment() });
    expect(stdout).toMatch(/Links: 65000 /);
    const oneMore = await layerOfEntries(directory, [layerEntry(link)]);
    const building = buildRootfs({ layers: [layer, oneMore], output: join(directory, 'too-many.ext4') });
    await expect(building).rejects.toMatchObject({
      code: 'layer_corrupt',
      message: 'the image\'s "/d/first" has 65001 hard links; ext4 counts up to 65000',
    });
  });
});

test('a directory has more than 65,000 directories in it, and takes one more and gives it back', async () => {
  await withTemporaryDirectory(async (directory) => {
    const path = await build(directory, entriesAt(pathsIn('d', 65_100), { path: 'd', type: 'directory' }));
    await withMounted(
      path,
      async (root) => {
        // The kernel counts no further than that, and says so with a count of one.
        expect((await stat(join(root, 'd'))).nlink).toBe(1);
        await mkdir(join(root, 'd', 'one-more'));
        await rmdir(join(root, 'd', 'one-more'));
        expect((await stat(join(root, 'd', '65099'))).isDirectory()).toBe(true);
      },
      { writable: true },
    );
    expect(await fileSystemFaults(path)).toBe('');
  });
});

test('more inodes than 32,768 for 128 MiB make the groups smaller, as mke2fs has it, and the file system grows all the same', async () => {
  await withTemporaryDirectory(async (directory) => {
    const entries = entriesAt(pathsIn('d', 30_000), { path: 'd', type: 'fifo' });
    const path = await build(directory, entries, 32 * 2 ** 20);
    const { stdout } = await run('dumpe2fs', ['-h', path], { env: toolEnvironment() });
    expect(Number(/^Blocks per group: +(\d+)$/m.exec(stdout)?.[1])).toBeLessThan(32_768);
    await withMounted(path, (root) => writeFile(join(root, 'd', 'one-more'), 'content'), { writable: true });
    expect(await fileSystemFaults(path)).toBe('');
    await run('resize2fs', ['-f', path, '300M'], { env: toolEnvironment() });
    expect(await fileSystemFaults(path)).toBe('');
  });
});

test.each([
  ['journal', 8192, 120_000],
  ['tables', 8192, 129_000],
  ['inodes', 65_536, 1_000_000],
])(
  'more inodes than a size has room for are told as that, whatever mke2fs lacks room for: %s',
  async (_what, blocks, inodes) => {
    await withTemporaryDirectory(async (directory) => {
      const geometry = { blocks, inodes, journalMebibytes: 4 };
      const make = () => makeFileSystem(join(directory, 'image'), geometry, '00000000-0000-4000-8000-000000000001');
      expect(make).toThrow(/is too small for this image; ask for a larger --size/);
    });
  },
);

test.each([100_000, 1_400_000, 2_000_000, 4_000_000])(
  '%i entries without content get a size that has room for them',
  async (entries) => {
    await withTemporaryDirectory(async (directory) => {
      const path = join(directory, 'image');
      const geometry = fileSystemGeometry(0, entries, undefined);
      makeFileSystem(path, geometry, '00000000-0000-4000-8000-000000000001');
      expect(await fileSystemFaults(path)).toBe('');
    });
  },
);

test('the bitmap of a group that mke2fs left without one is set beyond the blocks of the group', async () => {
  await withTemporaryDirectory(async (directory) => {
    const path = join(directory, 'image');
    const geometry = { blocks: 28_160, inodes: 100_640, journalMebibytes: 4 };
    makeFileSystem(path, geometry, '00000000-0000-4000-8000-000000000001');
    const image = new ImageFile(path);
    const groups = new BlockGroups(image);
    const { blocksPerGroup } = groups.superblock;
    expect(blocksPerGroup).toBeLessThan(32_768);
    groups.finish([[blocksPerGroup + 1000, 1]], LOST_AND_FOUND_INODE, [ROOT_INODE, LOST_AND_FOUND_INODE]);
    image.close();
    // It misses the file of that one block, and nothing else.
    const faults = await fileSystemFaults(path);
    expect(faults).toContain(`Block bitmap differences:  -${blocksPerGroup + 1000}\n`);
    expect(faults).not.toContain('Padding');
  });
});

test('attributes that do not fit a block are an error that names the entry', async () => {
  const entry: TarEntry = { path: 'd/e', type: 'file', xattrs: [['user.large', Buffer.alloc(4097, 1)]] };
  await withTemporaryDirectory(async (directory) => {
    await expect(build(directory, [layerEntry(entry)])).rejects.toMatchObject({
      code: 'layer_corrupt',
      message: 'the image\'s "/d/e" has more extended attributes than ext4 can hold, 4 KiB',
    });
  });
});

test('times before 1901 and after 2446 are the first and the last that ext4 has', async () => {
  const [first, last] = [-(2n ** 31n) * SECOND, (2n ** 34n - 2n ** 31n - 1n) * SECOND];
  const mtimes = [first, first - 1n, first - 2n ** 40n * SECOND, last, last + SECOND + 5n, 2n ** 50n * SECOND];
  const expected = [first, first, first, last, last, last];
  await withTemporaryDirectory(async (directory) => {
    const path = await build(
      directory,
      mtimes.map((mtime, index) => layerEntry({ path: `${index}`, type: 'fifo', mtime })),
    );
    const { children } = await listImage(path);
    expect(mtimes.map((_, index) => children.get(`${index}`)?.mtime)).toEqual(expected);
  });
});

test('a symlink of /bin that leads to itself is no shell, and no failure', async () => {
  await withTemporaryDirectory(async (directory) => {
    const links: TarEntry[] = [
      { path: 'bin', type: 'symlink', target: 'bin' },
      { path: 'lib', type: 'symlink', target: '/usr/lib' },
      { path: 'usr', type: 'symlink', target: 'lib/../usr' },
    ];
    const building = build(directory, links.map(layerEntry));
    await expect(building).resolves.toMatch(/rootfs\.ext4$/);
  });
});
