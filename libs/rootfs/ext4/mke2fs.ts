import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { toolEnvironment, toolKilled, toolNotStarted } from '../e2fsprogs.ts';
import { noSpace, RootfsError, systemCode } from '../error.ts';
import { BLOCK_SIZE, INODE_SIZE } from './format.ts';
import type { Geometry } from './geometry.ts';

/**
 * The default features of mkfs.ext4 in e2fsprogs 1.46, and in Debian's 1.47, listed so that no configuration can change them. The others of
 * 1.47 are left out: e2fsprogs 1.46 does not know `orphan_file`, and `metadata_csum_seed` would make the checksums' seed another than here.
 */
const FEATURES = [
  'none',
  'has_journal',
  'ext_attr',
  'resize_inode',
  'dir_index',
  'filetype',
  'extent',
  '64bit',
  'flex_bg',
  'sparse_super',
  'large_file',
  'huge_file',
  'dir_nlink',
  'extra_isize',
  'metadata_csum',
].join(',');

/** Messages of mke2fs when the file system has no room for its inodes or its journal. */
const TOO_SMALL =
  /too small|too big|too large|not enough space|too many inodes|inode_size|requested number of inodes|could not allocate/i;

/** Messages of mke2fs for system errors (strerror(3)), by code. */
const SYSTEM: readonly (readonly [code: string, words: RegExp])[] = [
  ['EIO', /input\/output error/i],
  ['EMFILE', /too many open files/i],
  ['ENOMEM', /cannot allocate memory|memory allocation failed/i],
  ['EROFS', /read-only file system/i],
  ['ESTALE', /stale file handle/i],
];

/**
 * Creates a sparse file with an empty ext4 file system (mke2fs(8)); the same arguments give the same bytes. Takes milliseconds,
 * since zeros are not written.
 *
 * @param uuid of the file system, which is also its hash seed
 * @throws RootfsError `mke2fs_missing`, `mke2fs_failed`, `image_too_large` when the size asked for is too small
 */
export function makeFileSystem(path: string, geometry: Geometry, uuid: string): void {
  const bytes = geometry.blocks * BLOCK_SIZE;
  const descriptor = openSync(path, 'wx', 0o600);
  try {
    ftruncateSync(descriptor, bytes);
  } catch (error) {
    if (systemCode(error) !== 'EFBIG') throw error;
    throw new RootfsError(
      'image_too_large',
      `the disk of the data directory cannot hold a file of ${bytes} bytes; ask for a smaller --size`,
      { cause: error },
    );
  } finally {
    closeSync(descriptor);
  }
  const options = [
    ['-t', 'ext4'],
    ['-O', FEATURES],
    ['-b', String(BLOCK_SIZE)],
    ['-I', String(INODE_SIZE)],
    ['-N', String(geometry.inodes)],
    ['-m', '0'],
    ['-G', '16'],
    ['-J', `size=${geometry.journalMebibytes}`],
    ['-U', uuid],
    ['-E', `hash_seed=${uuid},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard`],
  ].flat();
  const result = spawnSync('mke2fs', ['-q', '-F', ...options, path, String(geometry.blocks)], {
    env: toolEnvironment(),
    encoding: 'utf8',
  });
  if (result.error !== undefined) throw toolNotStarted('mke2fs', 'mke2fs_missing', result.error);
  if (result.status === 0) return;
  if (result.signal !== null) throw toolKilled('mke2fs', 'mke2fs_failed', result.signal);
  const words = result.stderr.trim();
  if (TOO_SMALL.test(words)) {
    throw new RootfsError(
      'image_too_large',
      `a file system of ${bytes} bytes is too small for this image; ask for a larger --size`,
    );
  }
  if (/no space left|disk quota exceeded/i.test(words)) throw noSpace();
  const message = `mke2fs failed: ${words.split('\n').at(-1) || 'it gave no reason'}`;
  const [code] = SYSTEM.find(([, said]) => said.test(words)) ?? [];
  if (code !== undefined) throw new RootfsError('internal', message, { cause: { code } });
  throw new RootfsError('mke2fs_failed', message);
}
