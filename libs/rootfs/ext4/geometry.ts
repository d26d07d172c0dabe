import { RootfsError } from '../error.ts';
import { BLOCK_SIZE, INODE_SIZE } from './format.ts';
import { MINIMUM_SIZE_BYTES } from './size-limits.ts';

const MIB = 1024 * 1024;

/** Smallest file system, unless a size is asked for. */
const MINIMUM_BYTES = 512 * MIB;
/** Free room, in percent of content and metadata. */
const HEADROOM_PERCENT = 30;
/** mke2fs(8)'s own density of inodes for file systems of this size. */
const BYTES_PER_INODE = 16_384;

/** mke2fs cannot make groups with more than some 2.7 inodes per block (reached by 1.8 million empty files). */
const LEAST_BYTES_PER_INODE = 512;

export interface Geometry {
  readonly blocks: number;
  readonly inodes: number;
  readonly journalMebibytes: number;
}

/**
 * The size of a file system for the given content: 30 % of headroom, at least 512 MiB in all, or exactly the size asked for
 * (rounded down to whole blocks); a fifth more inodes than there are entries, at least one for each 16 KiB.
 *
 * @throws RootfsError `image_too_large` when the size asked for has no room for a journal
 */
export function fileSystemGeometry(contentBlocks: number, entries: number, sizeBytes: number | undefined): Geometry {
  if (sizeBytes !== undefined && sizeBytes < MINIMUM_SIZE_BYTES) {
    throw new RootfsError(
      'image_too_large',
      `a file system of ${sizeBytes} bytes is too small for a journal; ask for a --size of 16MiB or more`,
    );
  }
  const neededInodes = Math.ceil(entries * 1.2) + 1024;
  const content = contentBlocks * BLOCK_SIZE + neededInodes * INODE_SIZE;
  const estimated = content + journalMebibytes(content) * MIB;
  const roomy = Math.max((estimated * (100 + HEADROOM_PERCENT)) / 100, neededInodes * LEAST_BYTES_PER_INODE);
  const bytes = sizeBytes ?? Math.max(MINIMUM_BYTES, Math.ceil(roomy / MIB) * MIB);
  return {
    blocks: Math.floor(bytes / BLOCK_SIZE),
    inodes: Math.max(neededInodes, Math.ceil(bytes / BYTES_PER_INODE)),
    journalMebibytes: journalMebibytes(bytes),
  };
}

/** Size of the journal: enough for a busy sandbox, without taking much of a small one. */
function journalMebibytes(bytes: number): number {
  if (bytes < 128 * MIB) return 4;
  if (bytes < 2048 * MIB) return 16;
  return bytes < 8192 * MIB ? 32 : 64;
}
