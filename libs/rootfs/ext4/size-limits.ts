import { BLOCK_SIZE } from './format.ts';

/**
 * Bytes of the smallest file system that may be asked for: below 9 MiB mke2fs has no room for a journal of 4 MiB, and below 8 MiB it
 * silently omits the journal.
 */
export const MINIMUM_SIZE_BYTES = 16 * 2 ** 20;

/** Bytes of the largest: the limit of 4 KiB blocks with 32-bit block numbers. */
export const MAXIMUM_SIZE_BYTES = 16 * 2 ** 40;

/** Rounds bytes up to whole blocks. */
export function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / BLOCK_SIZE) * BLOCK_SIZE;
}
