import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readlink, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { getSystemErrorName, promisify } from 'node:util';
import { buildRootfs, decodeLayer, MAXIMUM_SIZE_BYTES } from '@bhatti/rootfs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { toRootfsError } from '../error.ts';
import { patternContent } from './support/content.ts';
import { decodeBlobFile, type LayerBlob, writeLayer } from './support/layers.ts';
import { requireMounts, withMounted } from './support/mounted.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
/** More than is written between two looks at the free space. */
const CONTENT = 72 * MIB;

/** A layer of one file with content, which takes more room than the small disk may give, and the directory that it is decoded to. */
let directory: string;
let blob: LayerBlob;
let decoded: string;
beforeAll(async () => {
  await requireMounts();
  directory = await mkdtemp(join(tmpdir(), 'bhatti-full-disk-'));
  const file = { path: 'f', type: 'file', content: patternContent(CONTENT, 1) } as const;
  blob = await writeLayer(join(directory, 'blob'), [file]);
  decoded = join(directory, 'decoded');
  await decodeBlobFile(blob, decoded);
});
afterAll(() => rm(directory, { recursive: true }));

/** A disk of 140 MiB, mounted: 64 MiB of it are to stay free. `elsewhere` has room. */
async function withSmallDisk(use: (disk: string, elsewhere: string) => Promise<void>): Promise<void> {
  await withTemporaryDirectory(async (elsewhere) => {
    const image = join(elsewhere, 'disk');
    await writeFile(image, '');
    await truncate(image, 140 * MIB);
    await run('mke2fs', ['-q', '-t', 'ext4', '-m', '0', image]);
    await withMounted(image, (disk) => use(disk, elsewhere), { writable: true });
  });
}

/** Decodes a layer into a new directory of the disk. */
async function decodeTo(disk: string, { path, digest, ...layer }: LayerBlob): Promise<void> {
  const outDirectory = join(disk, 'layer');
  await mkdir(outDirectory);
  await decodeLayer({ ...layer, source: path, compressedDigest: digest, outDirectory });
}

/** Takes the disk's room to the last byte. All but the last of it without writing. */
async function fillUp(disk: string): Promise<void> {
  await run('fallocate', ['--length', String((await freeBytes(disk)) - MIB), join(disk, 'filler')]);
  await writeFile(join(disk, 'rest'), Buffer.alloc(2 * MIB)).catch((error: unknown) =>
    expect(error).toMatchObject({ code: 'ENOSPC' }),
  );
}

const freeBytes = async (disk: string) => {
  const { bavail, bsize } = await statfs(disk);
  return bavail * bsize;
};

test('a layer that the disk does not hold ends with no_space, before the disk is full', async () => {
  await withSmallDisk(async (disk) => {
    await expect(decodeTo(disk, blob)).rejects.toMatchObject({ code: 'no_space', retryable: false });
    expect(await freeBytes(disk)).toBeGreaterThan(32 * MIB);
  });
});

test('an image that the disk does not hold ends with no_space before its data is copied', async () => {
  await withSmallDisk(async (disk) => {
    const building = buildRootfs({ layers: [decoded], output: join(disk, 'rootfs.ext4') });
    await expect(building).rejects.toMatchObject({
      code: 'no_space',
      message: expect.stringMatching(
        /: \d{2,3} MB have to be free, as 64 MiB always stay so, and \d{2,3} MB are; free some/,
      ),
    });
    expect(await freeBytes(disk)).toBeGreaterThan(64 * MIB);
  });
});

test('a disk that is full to the last byte ends both with no_space', async () => {
  await withSmallDisk(async (disk) => {
    await fillUp(disk);
    await expect(decodeTo(disk, blob)).rejects.toMatchObject({ code: 'no_space' });
    const building = buildRootfs({ layers: [decoded], output: join(disk, 'rootfs.ext4') });
    await expect(building).rejects.toMatchObject({ code: 'no_space' });
    expect(await readdir(disk)).toContain('filler');
  });
});

test('a layer of names alone that fill the disk leaves no file open, which would keep its room', async () => {
  await withSmallDisk(async (disk, elsewhere) => {
    const names = Array.from({ length: 6_000 }, (_, i) => ({ path: `${i}${'n'.repeat(200)}`, type: 'file' }) as const);
    const blobOfNames = await writeLayer(join(elsewhere, 'blob'), names);
    await fillUp(disk);
    await expect(decodeTo(disk, blobOfNames)).rejects.toMatchObject({ code: 'no_space' });
    const descriptors = await readdir('/proc/self/fd');
    const open = await Promise.all(descriptors.map((one) => readlink(`/proc/self/fd/${one}`).catch(() => '')));
    expect(open.filter((file) => file.startsWith(disk))).toEqual([]);
  });
});

test('a file system that is larger than a file may be there ends with image_too_large', async () => {
  await withSmallDisk(async (disk) => {
    const building = buildRootfs({ layers: [], output: join(disk, 'rootfs.ext4'), sizeBytes: MAXIMUM_SIZE_BYTES });
    await expect(building).rejects.toMatchObject({
      code: 'image_too_large',
      message: `the disk of the data directory cannot hold a file of ${MAXIMUM_SIZE_BYTES} bytes; ask for a smaller --size`,
    });
  });
});

test('a quota that is used up is a full disk, for which Node has no name', () => {
  const errno = -constants.errno.EDQUOT;
  // The first as Node makes it of a synchronous call.
  for (const code of ['UNKNOWN', getSystemErrorName(errno)])
    expect(toRootfsError(Object.assign(new Error('write'), { code, errno }))).toMatchObject({ code: 'no_space' });
});
