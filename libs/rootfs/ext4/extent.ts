import { crc32c } from './crc32c.ts';
import { BLOCK_SIZE } from './format.ts';

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

/** The entries of one level of an extent tree. */
interface Level {
  readonly length: number;
  /** The first block of the file that an entry is about. */
  fileBlock(i: number): number;
  /** Writes an entry into a node, from `at` on. */
  write(i: number, node: Buffer, at: number): void;
}

/**
 * Extents: consecutive blocks of a file in consecutive blocks of the file system. Merges adjacent ones, and splits those that are too long.
 * Columns of numbers, as a file of 5 GiB with a hole in every other block has 655,000 extents.
 */
export class ExtentList implements Level {
  readonly #fileBlocks: number[] = [];
  readonly #starts: number[] = [];
  readonly #blocks: number[] = [];
  #total = 0;

  get length(): number {
    return this.#blocks.length;
  }

  /** Blocks of all extents. */
  get totalBlocks(): number {
    return this.#total;
  }

  fileBlock(i: number): number {
    return this.#fileBlocks[i] ?? 0;
  }

  /** The first block in the file system. */
  start(i: number): number {
    return this.#starts[i] ?? 0;
  }

  blocks(i: number): number {
    return this.#blocks[i] ?? 0;
  }

  add(fileBlock: number, start: number, blocks: number): void {
    this.#total += blocks;
    let done = 0;
    const last = this.length - 1;
    const length = this.blocks(last);
    if (length > 0 && this.fileBlock(last) + length === fileBlock && this.start(last) + length === start) {
      done = Math.min(blocks, MAX_EXTENT - length);
      this.#blocks[last] = length + done;
    }
    for (; done < blocks; done += MAX_EXTENT) {
      this.#fileBlocks.push(fileBlock + done);
      this.#starts.push(start + done);
      this.#blocks.push(Math.min(MAX_EXTENT, blocks - done));
    }
  }

  write(i: number, node: Buffer, at: number): void {
    const start = this.start(i);
    node.writeUInt32LE(this.fileBlock(i), at);
    node.writeUInt16LE(this.blocks(i), at + 4);
    node.writeUInt16LE(Math.floor(start / 2 ** 32), at + 6);
    node.writeUInt32LE(start % 2 ** 32, at + 8);
  }
}

/** Index entries: the nodes of the level below. */
class ChildList implements Level {
  readonly #children: { readonly fileBlock: number; readonly block: number }[] = [];

  get length(): number {
    return this.#children.length;
  }

  fileBlock(i: number): number {
    return this.#children[i]?.fileBlock ?? 0;
  }

  add(fileBlock: number, block: number): void {
    this.#children.push({ fileBlock, block });
  }

  write(i: number, node: Buffer, at: number): void {
    const { fileBlock, block } = this.#children[i] ?? { fileBlock: 0, block: 0 };
    node.writeUInt32LE(fileBlock, at);
    node.writeUInt32LE(block % 2 ** 32, at + 4);
    node.writeUInt16LE(Math.floor(block / 2 ** 32), at + 8);
  }
}

export interface ExtentTree {
  /** The 60 bytes of the inode's `i_block`. */
  readonly root: Buffer;
  /** Blocks of the tree outside the inode. */
  readonly blocks: readonly { readonly block: number; readonly bytes: Buffer }[];
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
export function buildExtentTree(extents: ExtentList, seed: number, allocate: () => number): ExtentTree {
  const blocks: { block: number; bytes: Buffer }[] = [];
  let level: Level = extents;
  let depth = 0;
  for (; level.length > IN_INODE; depth++) {
    const children = new ChildList();
    for (let from = 0; from < level.length; from += IN_BLOCK) {
      const bytes = Buffer.alloc(BLOCK_SIZE);
      writeNode(bytes, depth, level, { from, max: IN_BLOCK });
      bytes.writeUInt32LE(crc32c(seed, bytes, 0, HEADER + IN_BLOCK * ENTRY), HEADER + IN_BLOCK * ENTRY);
      const block = allocate();
      blocks.push({ block, bytes });
      children.add(level.fileBlock(from), block);
    }
    level = children;
  }
  const root = Buffer.alloc(ROOT_SIZE);
  writeNode(root, depth, level, { from: 0, max: IN_INODE });
  return { root, blocks };
}

/** Writes the entries of a level from one on, as many as there are and fit: up to `max`. */
function writeNode(node: Buffer, depth: number, level: Level, { from, max }: { from: number; max: number }): void {
  const entries = Math.min(max, level.length - from);
  node.writeUInt16LE(MAGIC, 0);
  node.writeUInt16LE(entries, 2);
  node.writeUInt16LE(max, 4);
  node.writeUInt16LE(depth, 6);
  for (let i = 0; i < entries; i++) level.write(from + i, node, HEADER + i * ENTRY);
}
