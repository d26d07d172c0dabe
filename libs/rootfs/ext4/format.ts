/**
 * Numbers of the ext4 disk layout, as pinned by `mke2fs.ts`. Source: the kernel's documentation,
 * Documentation/filesystems/ext4 ("Data Structures and Algorithms").
 */
export const BLOCK_SIZE = 4096;
export const INODE_SIZE = 256;
/** Bytes of fixed fields in an inode after the first 128; attributes may follow. */
export const EXTRA_ISIZE = 32;

export const ROOT_INODE = 2;
export const LOST_AND_FOUND_INODE = 11;
/** Inodes 1 to 10 are reserved. */
export const FIRST_FREE_INODE = 12;

/** e2fsck needs room to reconnect files without allocating: mke2fs(8) gives lost+found 16 KiB. */
export const LOST_AND_FOUND_BLOCKS = 4;

export const FileType = {
  file: 0x8000,
  directory: 0x4000,
  symlink: 0xa000,
  'character-device': 0x2000,
  'block-device': 0x6000,
  fifo: 0x1000,
} as const;

/** The type's code in a directory entry. */
export const DirectoryType = {
  file: 1,
  directory: 2,
  'character-device': 3,
  'block-device': 4,
  fifo: 5,
  symlink: 7,
} as const;

export const InodeFlag = { index: 0x1000, extents: 0x8_0000 } as const;
