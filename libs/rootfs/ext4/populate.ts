import { RootfsError } from '../error.ts';
import { giveBack } from '../layer/chunk-memory.ts';
import { quote } from '../layer/path.ts';
import type { Inode } from '../tree/inode-table.ts';
import type { Tree } from '../tree/tree.ts';
import { BlockAllocator } from './allocator.ts';
import { BlockGroups } from './block-groups.ts';
import { attributesOf, directoryBlockCount, isFastSymlink, plannedBlocks, planOf } from './content.ts';
import { addCopyRun, type CopyRun } from './copy-run.ts';
import { directoryBlocks, dropPlan } from './directory.ts';
import { buildExtentTree, ExtentList, extentTreeBlocks } from './extent.ts';
import { BLOCK_SIZE, FIRST_FREE_INODE, INODE_SIZE, InodeFlag, LOST_AND_FOUND_INODE, ROOT_INODE } from './format.ts';
import { ImageFile } from './image-file.ts';
import { deviceBlock, type InodeRecord, inodeSeed, writeInode } from './inode-record.ts';
import type { Numbering } from './numbering.ts';
import { sortByKey } from './sort-by-key.ts';
import { type AttributePlacement, attributeBlock, placeAttributes } from './xattr.ts';

/** Most links that an inode can count (the kernel's EXT4_LINK_MAX); a directory with more has a count of 1 (dir_nlink). */
const MAX_LINKS = 65_000;

export interface PopulateOptions {
  /** See `ContentMeasure`. */
  readonly linearBlocks: Uint8Array;
  /** Called with the data to copy as soon as that is known, before anything is written. */
  readonly onCopies: (copies: readonly CopyRun[]) => void;
}

/**
 * Writes a tree into the empty file system that mke2fs made. Directories and other metadata come first, then all file data in the order
 * of the layers' data files, so that it can be copied in large runs. The whole layout is decided before anything is written, so that the
 * data can be copied at the same time, by the caller. Afterwards the file system is complete except for that data.
 *
 * @throws RootfsError `image_too_large` when it does not fit, `layer_corrupt` for what ext4 cannot hold
 */
export function populate(path: string, numbering: Numbering, { linearBlocks, onCopies }: PopulateOptions): void {
  const image = new ImageFile(path);
  try {
    const population = new Population(image, numbering, linearBlocks);
    population.placeMetadata();
    onCopies(population.placeData());
    population.writeMetadata();
    population.writeInodes();
    population.finish();
  } finally {
    image.close();
  }
}

class Population {
  readonly #image: ImageFile;
  readonly #numbering: Numbering;
  readonly #tree: Tree;
  readonly #groups: BlockGroups;
  readonly #allocator: BlockAllocator;
  readonly #seed: number;
  readonly #linearBlocks: Uint8Array;
  /** By inode number: the allocator's place of the content, and the number of blocks of a directory or a symlink. */
  readonly #places: Uint32Array;
  readonly #blocks: Uint32Array;
  readonly #indexed = new Set<number>();
  /** By inode number, as few have any: the block of attributes, and the place of the extent tree's blocks outside the inode. */
  readonly #attributeBlocks = new Map<number, number>();
  readonly #extentTrees = new Map<number, number>();

  constructor(image: ImageFile, numbering: Numbering, linearBlocks: Uint8Array) {
    this.#image = image;
    this.#linearBlocks = linearBlocks;
    this.#numbering = numbering;
    this.#tree = numbering.tree;
    this.#groups = new BlockGroups(image);
    this.#seed = this.#groups.superblock.checksumSeed;
    if (numbering.highest > this.#groups.superblock.inodes) {
      throw new RootfsError(
        'image_too_large',
        `the image has ${numbering.highest} inodes, more than a file system of this size has; ask for a larger --size`,
      );
    }
    this.#places = new Uint32Array(numbering.highest + 1);
    this.#blocks = new Uint32Array(numbering.highest + 1);
    this.#releaseOriginal(ROOT_INODE);
    this.#releaseOriginal(LOST_AND_FOUND_INODE);
    this.#allocator = new BlockAllocator(this.#groups.freeRuns());
  }

  /** Places directories, long symlinks and attribute blocks, in the order of the inodes: what a boot reads first is together. */
  placeMetadata(): void {
    const { inodes } = this.#tree;
    for (const number of this.#numbering.numbers()) {
      const inode = this.#numbering.inodeOf(number);
      if (inodes.xattrs(inode).length > 0 && this.#attributes(inode, number).inBlock.length > 0)
        this.#attributeBlocks.set(number, this.#allocator.blockAt(this.#allocator.take(1)));
      if (inodes.isDirectory(inode)) {
        const blocks =
          this.#linearBlocks[number] || plannedBlocks(inode, this.#numbering, this.#groups.superblock.hashSeed);
        this.#place(number, directoryBlockCount(blocks, number));
      } else if (inodes.type(inode) === 'symlink' && !isFastSymlink(this.#tree, inode)) this.#place(number, 1);
    }
  }

  /** Places file data, in the order of the layers and of their data; returns what is to be copied. */
  placeData(): CopyRun[] {
    const { inodes } = this.#tree;
    const copies: CopyRun[] = [];
    for (const number of this.#filesByData()) {
      const inode = this.#numbering.inodeOf(number);
      const layer = inodes.layer(inode);
      this.#places[number] = this.#allocator.takenBlocks;
      inodes.forEachRun(inode, (_fileBlock, dataBlock, blocks) => {
        let from = dataBlock;
        for (const [to, count] of this.#allocator.runsAt(this.#allocator.take(blocks), blocks)) {
          addCopyRun(copies, { layer, from, to, blocks: count });
          from += count;
        }
      });
    }
    return copies;
  }

  /** Numbers of the files that have data, sorted by layer and by position in it. */
  #filesByData(): Uint32Array {
    const { inodes } = this.#tree;
    const keys = new Uint32Array(this.#numbering.highest + 1);
    const all = new Uint32Array(this.#numbering.highest + 1);
    let count = 0;
    for (const number of this.#numbering.numbers()) {
      const block = inodes.firstDataBlock(this.#numbering.inodeOf(number));
      if (block === undefined) continue;
      keys[number] = block;
      all[count++] = number;
    }
    const files = all.subarray(0, count);
    sortByKey(files, keys);
    for (const number of files) keys[number] = inodes.layer(this.#numbering.inodeOf(number));
    sortByKey(files, keys);
    giveBack(keys);
    return files;
  }

  /** Writes what `placeMetadata` has placed. */
  writeMetadata(): void {
    const { inodes } = this.#tree;
    for (const number of this.#numbering.numbers()) {
      const inode = this.#numbering.inodeOf(number);
      const block = this.#attributeBlocks.get(number);
      if (block !== undefined) {
        const { inBlock } = this.#attributes(inode, number);
        this.#image.writeBlock(block, attributeBlock(inBlock, block, this.#seed));
      }
      if (this.#blocks[number] === 0) continue;
      if (inodes.isDirectory(inode)) this.#writeDirectory(inode, number);
      else this.#writeSymlink(inode, number);
    }
  }

  /** Writes the inode tables, block by block. */
  writeInodes(): void {
    this.#writeExtentTrees();
    const bytes = Buffer.alloc(BLOCK_SIZE);
    let block = -1;
    for (const number of this.#numbering.numbers()) {
      const offset = this.#groups.inodeOffset(number);
      if (Math.floor(offset / BLOCK_SIZE) !== block) {
        if (block >= 0) this.#image.writeBlock(block, bytes);
        block = Math.floor(offset / BLOCK_SIZE);
        // mke2fs wrote reserved inodes into the first block; the others are holes.
        if (number < FIRST_FREE_INODE) this.#image.read(block * BLOCK_SIZE, BLOCK_SIZE).copy(bytes);
        else bytes.fill(0);
      }
      writeInode(bytes, offset % BLOCK_SIZE, this.#tree.inodes, this.#record(number), this.#seed);
    }
    this.#image.writeBlock(block, bytes);
    this.#image.flush();
  }

  /** Writes extent trees that need blocks before any inode, so that they do not interrupt the writes of the inode table. */
  #writeExtentTrees(): void {
    for (const number of this.#numbering.numbers()) {
      const extents = this.#extentsOf(number);
      const blocks = extentTreeBlocks(extents.length);
      if (blocks === 0) continue;
      const place = this.#allocator.take(blocks);
      this.#extentTrees.set(number, place);
      for (const { block, bytes } of this.#extentTree(extents, number, place).blocks)
        this.#image.writeBlock(block, bytes);
    }
  }

  /** The tree of a file's extents, with its blocks from a place on. */
  #extentTree(extents: ExtentList, number: number, place: number): ReturnType<typeof buildExtentTree> {
    let next = place;
    return buildExtentTree(extents, inodeSeed(this.#seed, number), () => this.#allocator.blockAt(next++));
  }

  /** Writes bitmaps, descriptors and superblocks. */
  finish(): void {
    const directories: number[] = [];
    for (const number of this.#numbering.numbers())
      if (this.#tree.inodes.isDirectory(this.#numbering.inodeOf(number))) directories.push(number);
    const taken = this.#allocator.runsAt(0, this.#allocator.takenBlocks);
    this.#groups.finish(taken, this.#numbering.highest, directories);
    this.#image.flush();
  }

  /** Frees the blocks that mke2fs gave to an inode which is replaced. */
  #releaseOriginal(number: number): void {
    const inode = this.#image.read(this.#groups.inodeOffset(number), INODE_SIZE);
    const entries = inode.readUInt16LE(42);
    for (let i = 0; i < entries; i++) {
      const at = 52 + i * 12;
      this.#groups.release(
        inode.readUInt32LE(at + 8) + inode.readUInt16LE(at + 6) * 2 ** 32,
        inode.readUInt16LE(at + 4),
      );
    }
  }

  #attributes(inode: Inode, number: number): AttributePlacement {
    const placement = placeAttributes(attributesOf(this.#tree, inode));
    if (placement !== undefined) return placement;
    throw new RootfsError(
      'layer_corrupt',
      `the image's ${quote(this.#numbering.pathOf(number))} has more extended attributes than ext4 can hold, 4 KiB`,
    );
  }

  #writeDirectory(inode: Inode, number: number): void {
    const plan = planOf(inode, this.#numbering, this.#groups.superblock.hashSeed);
    if (plan.indexed) this.#indexed.add(number);
    const parent = this.#numbering.parentOf(number);
    const blocks = this.#blocks[number] ?? 0;
    let place = this.#places[number] ?? 0;
    for (const bytes of directoryBlocks(plan, number, parent, inodeSeed(this.#seed, number), blocks))
      this.#image.writeBlock(this.#allocator.blockAt(place++), bytes);
    dropPlan(plan);
  }

  #writeSymlink(inode: Inode, number: number): void {
    const bytes = Buffer.alloc(BLOCK_SIZE);
    bytes.write(this.#tree.inodes.target(inode), 'latin1');
    this.#image.writeBlock(this.#allocator.blockAt(this.#places[number] ?? 0), bytes);
  }

  /** Takes blocks for a directory or a symlink. */
  #place(number: number, blocks: number): void {
    this.#places[number] = this.#allocator.take(blocks);
    this.#blocks[number] = blocks;
  }

  #extentsOf(number: number): ExtentList {
    const list = new ExtentList();
    let place = this.#places[number] ?? 0;
    const add = (fileBlock: number, blocks: number) => {
      let at = fileBlock;
      for (const [start, count] of this.#allocator.runsAt(place, blocks)) {
        list.add(at, start, count);
        at += count;
      }
      place += blocks;
    };
    const blocks = this.#blocks[number] ?? 0;
    if (blocks > 0) add(0, blocks);
    else this.#tree.inodes.forEachRun(this.#numbering.inodeOf(number), (fileBlock, _, count) => add(fileBlock, count));
    return list;
  }

  #record(number: number): InodeRecord {
    const inode = this.#numbering.inodeOf(number);
    const attributeBlockNumber = this.#attributeBlocks.get(number) ?? 0;
    const { block, blocks, flags, size } = this.#mapping(inode, number);
    return {
      number,
      inode,
      links: this.#linkCount(inode, number),
      size,
      flags,
      blocks: blocks + (attributeBlockNumber > 0 ? 1 : 0),
      block,
      attributeBlock: attributeBlockNumber,
      inInodeAttributes:
        this.#tree.inodes.xattrs(inode).length > 0 ? this.#attributes(inode, number).inInode : NO_BYTES,
    };
  }

  #mapping(inode: Inode, number: number): { block: Buffer; blocks: number; flags: number; size: number } {
    const { inodes } = this.#tree;
    const type = inodes.type(inode);
    if (type === 'character-device' || type === 'block-device') {
      const block = deviceBlock(inodes.deviceMajor(inode), inodes.deviceMinor(inode));
      return { block, blocks: 0, flags: 0, size: 0 };
    }
    if (type === 'fifo') return { block: NO_BYTES, blocks: 0, flags: 0, size: 0 };
    if (isFastSymlink(this.#tree, inode)) {
      const target = inodes.target(inode);
      return { block: Buffer.from(target, 'latin1'), blocks: 0, flags: 0, size: target.length };
    }
    const extents = this.#extentsOf(number);
    return {
      block: this.#extentTree(extents, number, this.#extentTrees.get(number) ?? 0).root,
      blocks: extents.totalBlocks + extentTreeBlocks(extents.length),
      flags: InodeFlag.extents | (this.#indexed.has(number) ? InodeFlag.index : 0),
      size: this.#sizeOf(inode, number),
    };
  }

  #linkCount(inode: Inode, number: number): number {
    const { inodes, names } = this.#tree;
    if (inodes.isDirectory(inode)) {
      let links = 2;
      for (const name of this.#tree.namesIn(inode)) if (inodes.isDirectory(names.inode(name))) links++;
      return links >= MAX_LINKS ? 1 : links;
    }
    if (inodes.names(inode) > MAX_LINKS) {
      throw new RootfsError(
        'layer_corrupt',
        `the image's ${quote(this.#numbering.pathOf(number))} has ${inodes.names(inode)} hard links; ext4 counts up to ${MAX_LINKS}`,
      );
    }
    return inodes.names(inode);
  }

  #sizeOf(inode: Inode, number: number): number {
    const { inodes } = this.#tree;
    if (inodes.isDirectory(inode)) return (this.#blocks[number] ?? 0) * BLOCK_SIZE;
    return inodes.type(inode) === 'symlink' ? inodes.targetLength(inode) : inodes.size(inode);
  }
}

const NO_BYTES = Buffer.alloc(0);
