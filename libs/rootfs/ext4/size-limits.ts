import { BLOCK_SIZE } from './format.ts';

/**
 * Bytes of the smallest file system that may be asked for: below 9 MiB mke2fs has no room for a journal of 4 MiB, and below 8 it
 * leaves it out without a word.
 */
export const MINIMUM_SIZE_BYTES = 16 * 2 ** 20;

/** And of the largest: ext4 with 4 KiB blocks and 32-bit block numbers ends here; no sandbox needs more. */
export const MAXIMUM_SIZE_BYTES = 16 * 2 ** 40;

/** Bytes of the file system that has room for so many: whole blocks. */
export function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / BLOCK_SIZE) * BLOCK_SIZE;
}
