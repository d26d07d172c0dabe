import { crc32c } from './crc32c.ts';
import { BLOCK_SIZE } from './format.ts';

/** Consecutive blocks of a file in consecutive blocks of the file system. */
export interface Extent {
  readonly fileBlock: number;
  readonly start: number;
  readonly blocks: number;
}

/** Most blocks of an initialised extent (a larger length marks an unwritten one). */
export const MAX_EXTENT = 32_768;

/** Bytes of an inode's `i_block`. */
const ROOT_SIZE = 60;
const MAGIC = 0xf30a;
const HEADER = 12;
const ENTRY = 12;
/** Entries that fit into an inode's `i_block`, and into a block before its checksum. */
const IN_INODE = 4;
const IN_BLOCK = Math.floor((BLOCK_SIZE - HEADER - 4) / ENTRY);

/** A list of extents that merges adjacent ones, and splits those that are too long. */
export class ExtentList {
  readonly extents: Extent[] = [];

  add(fileBlock: number, start: number, blocks: number): void {
    let done = 0;
    const last = this.extents.at(-1);
    if (last !== undefined && last.fileBlock + last.blocks === fileBlock && last.start + last.blocks === start) {
      done = Math.min(blocks, MAX_EXTENT - last.blocks);
      this.extents[this.extents.length - 1] = { ...last, blocks: last.blocks + done };
    }
    for (; done < blocks; done += MAX_EXTENT) {
      this.extents.push({
        fileBlock: fileBlock + done,
        start: start + done,
        blocks: Math.min(MAX_EXTENT, blocks - done),
      });
    }
  }
}

export interface ExtentTree {
  /** The 60 bytes of the inode's `i_block`. */
  readonly root: Buffer;
  /** Blocks of the tree outside the inode. */
  readonly blocks: readonly { readonly block: number; readonly bytes: Buffer }[];
}

interface Child {
  readonly fileBlock: number;
  readonly block: number;
}

/** Number of blocks outside the inode that a tree of so many extents needs. */
export function extentTreeBlocks(extents: number): number {
  let total = 0;
  for (let entries = extents; entries > IN_INODE; ) {
    entries = Math.ceil(entries / IN_BLOCK);
    total += entries;
  }
  return total;
}

/**
 * Builds the tree of a file's extents, of any depth; nodes are filled from the left.
 *
 * @param allocate returns the number of a free block
 * @param seed the inode's checksum seed
 */
export function buildExtentTree(extents: readonly Extent[], seed: number, allocate: () => number): ExtentTree {
  const root = Buffer.alloc(ROOT_SIZE);
  const blocks: { block: number; bytes: Buffer }[] = [];
  if (extents.length <= IN_INODE) {
    writeNode(root, IN_INODE, 0, extents, writeExtent);
    return { root, blocks };
  }
  const writeLevel = <T extends { fileBlock: number }>(depth: number, items: readonly T[], write: WriteEntry<T>) =>
    chunks(items, IN_BLOCK).map((chunk): Child => {
      const bytes = Buffer.alloc(BLOCK_SIZE);
      writeNode(bytes, IN_BLOCK, depth, chunk, write);
      bytes.writeUInt32LE(crc32c(seed, bytes, 0, HEADER + IN_BLOCK * ENTRY), HEADER + IN_BLOCK * ENTRY);
      const block = allocate();
      blocks.push({ block, bytes });
      return { fileBlock: chunk[0]?.fileBlock ?? 0, block };
    });
  let children = writeLevel(0, extents, writeExtent);
  let depth = 1;
  for (; children.length > IN_INODE; depth++) children = writeLevel(depth, children, writeIndex);
  writeNode(root, IN_INODE, depth, children, writeIndex);
  return { root, blocks };
}

type WriteEntry<T> = (node: Buffer, i: number, item: T) => void;

function writeNode<T>(node: Buffer, max: number, depth: number, items: readonly T[], write: WriteEntry<T>): void {
  node.writeUInt16LE(MAGIC, 0);
  node.writeUInt16LE(items.length, 2);
  node.writeUInt16LE(max, 4);
  node.writeUInt16LE(depth, 6);
  for (const [i, item] of items.entries()) write(node, i, item);
}

function writeExtent(node: Buffer, i: number, extent: Extent): void {
  const at = HEADER + i * ENTRY;
  node.writeUInt32LE(extent.fileBlock, at);
  node.writeUInt16LE(extent.blocks, at + 4);
  node.writeUInt16LE(Math.floor(extent.start / 2 ** 32), at + 6);
  node.writeUInt32LE(extent.start % 2 ** 32, at + 8);
}

function writeIndex(node: Buffer, i: number, child: Child): void {
  const at = HEADER + i * ENTRY;
  node.writeUInt32LE(child.fileBlock, at);
  node.writeUInt32LE(child.block % 2 ** 32, at + 4);
  node.writeUInt16LE(Math.floor(child.block / 2 ** 32), at + 8);
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  for (let at = 0; at < items.length; at += size) parts.push(items.slice(at, at + size));
  return parts;
}
