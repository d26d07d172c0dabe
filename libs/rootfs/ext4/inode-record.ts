import type { Inode, InodeTable } from '../tree/inode-table.ts';
import { crc32c, crc32cWord } from './crc32c.ts';
import { EXTRA_ISIZE, FileType, INODE_SIZE } from './format.ts';

/** The times that ext4 can store: 34 bits from 1901 on, up to the year 2446. */
const MIN_TIME = -(2 ** 31);
const MAX_TIME = 2 ** 34 - 2 ** 31 - 1;

export interface InodeRecord {
  readonly number: number;
  readonly inode: Inode;
  readonly links: number;
  /** Bytes of the content, of the directory or of the symlink's target. */
  readonly size: number;
  readonly flags: number;
  /** All blocks that belong to the inode: content, extent tree and attributes. */
  readonly blocks: number;
  /** The 60 bytes of `i_block`. */
  readonly block: Buffer;
  /** The block with attributes, or 0. */
  readonly attributeBlock: number;
  /** The inode's bytes after the fixed fields. */
  readonly inInodeAttributes: Buffer;
}

/** The seed of the checksums of an inode and its blocks, from its number and its generation, which is 0. */
export function inodeSeed(fileSystemSeed: number, number: number): number {
  return crc32cWord(crc32cWord(fileSystemSeed, number), 0);
}

/** Writes an inode's 256 bytes at `at` (kernel documentation, "Index Nodes"). */
export function writeInode(
  bytes: Buffer,
  at: number,
  inodes: InodeTable,
  record: InodeRecord,
  fileSystemSeed: number,
): void {
  const { inode } = record;
  const sectors = record.blocks * 8;
  const uid = inodes.uid(inode);
  const gid = inodes.gid(inode);
  bytes.fill(0, at, at + INODE_SIZE);
  bytes.writeUInt16LE(FileType[inodes.type(inode)] | inodes.mode(inode), at);
  bytes.writeUInt16LE(uid & 0xffff, at + 2);
  bytes.writeUInt32LE(record.size % 2 ** 32, at + 4);
  bytes.writeUInt16LE(gid & 0xffff, at + 24);
  bytes.writeUInt16LE(record.links, at + 26);
  bytes.writeUInt32LE(sectors % 2 ** 32, at + 28);
  bytes.writeUInt32LE(record.flags, at + 32);
  record.block.copy(bytes, at + 40);
  bytes.writeUInt32LE(record.attributeBlock % 2 ** 32, at + 104);
  bytes.writeUInt32LE(Math.floor(record.size / 2 ** 32), at + 108);
  bytes.writeUInt16LE(Math.floor(sectors / 2 ** 32), at + 116);
  bytes.writeUInt16LE(Math.floor(record.attributeBlock / 2 ** 32), at + 118);
  bytes.writeUInt16LE(uid >>> 16, at + 120);
  bytes.writeUInt16LE(gid >>> 16, at + 122);
  bytes.writeUInt16LE(EXTRA_ISIZE, at + 128);
  writeTimes(bytes, at, inodes.mtimeSeconds(inode), inodes.mtimeNanoseconds(inode));
  record.inInodeAttributes.copy(bytes, at + 128 + EXTRA_ISIZE);
  const checksum = crc32c(inodeSeed(fileSystemSeed, record.number), bytes, at, at + INODE_SIZE);
  bytes.writeUInt16LE(checksum & 0xffff, at + 124);
  bytes.writeUInt16LE(checksum >>> 16, at + 130);
}

/** All four times are the layer's mtime: a layer states no other, and the image must not depend on when it is built. */
function writeTimes(bytes: Buffer, at: number, mtimeSeconds: number, mtimeNanoseconds: number): void {
  const seconds = Math.min(Math.max(mtimeSeconds, MIN_TIME), MAX_TIME);
  const low = seconds | 0;
  const epoch = Math.floor((seconds - low) / 2 ** 32) & 3;
  // As in the kernel, a time out of range is clamped to a whole second.
  const nanoseconds = seconds === mtimeSeconds ? mtimeNanoseconds : 0;
  const extra = ((nanoseconds << 2) | epoch) >>> 0;
  for (const field of [8, 12, 16, 144]) bytes.writeInt32LE(low, at + field);
  for (const field of [132, 136, 140, 148]) bytes.writeUInt32LE(extra, at + field);
}

/**
 * `i_block` of a device: the old encoding, with a byte for each number, where they fit, else the new one (the kernel's
 * `old_encode_dev` and `new_encode_dev`).
 */
export function deviceBlock(major: number, minor: number): Buffer {
  const block = Buffer.alloc(60);
  if (major < 256 && minor < 256) block.writeUInt32LE((major << 8) | minor, 0);
  else block.writeUInt32LE(((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0, 4);
  return block;
}
