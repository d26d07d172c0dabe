import type { BlockRun } from './allocator.ts';
import { Bitmap } from './bitmap.ts';
import { crc32c } from './crc32c.ts';
import { BLOCK_SIZE, INODE_SIZE } from './format.ts';
import { GroupDescriptor } from './group-descriptor.ts';
import type { ImageFile } from './image-file.ts';
import { SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock } from './superblock.ts';

/** The block groups of a file system: where mke2fs put what, which blocks are free, and the final bitmaps and descriptors. */
export class BlockGroups {
  readonly superblock: Superblock;
  readonly #image: ImageFile;
  readonly #table: Buffer;
  readonly #descriptors: GroupDescriptor[];
  readonly #bitmap: Bitmap;
  /** By group: whether its block bitmap must be written. */
  readonly #initialized: boolean[];

  constructor(image: ImageFile) {
    this.#image = image;
    this.superblock = new Superblock(image.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE));
    const { groups, descriptorSize, blocks, blocksPerGroup } = this.superblock;
    this.#table = image.read(BLOCK_SIZE, groups * descriptorSize);
    this.#descriptors = Array.from(
      { length: groups },
      (_, group) => new GroupDescriptor(this.#table.subarray(group * descriptorSize, (group + 1) * descriptorSize)),
    );
    this.#initialized = this.#descriptors.map((descriptor) => !descriptor.blocksUninitialized);
    this.#bitmap = new Bitmap(blocks, blocksPerGroup);
    this.#readBitmaps();
  }

  /** Ascending runs of free blocks. */
  freeRuns(): BlockRun[] {
    return this.#bitmap.freeRuns();
  }

  /** Offset in bytes of an inode in the image. */
  inodeOffset(number: number): number {
    const { inodesPerGroup } = this.superblock;
    const descriptor = this.#descriptors[Math.floor((number - 1) / inodesPerGroup)];
    if (descriptor === undefined) throw new Error(`no inode ${number}`);
    return descriptor.inodeTable * BLOCK_SIZE + ((number - 1) % inodesPerGroup) * INODE_SIZE;
  }

  /** Frees blocks that mke2fs had allocated. */
  release(start: number, blocks: number): void {
    this.#bitmap.clear(start, blocks);
  }

  /**
   * Writes bitmaps, descriptors and superblocks, including the backups.
   *
   * @param taken blocks that are now in use
   * @param highestInode all inodes up to it are in use
   * @param directories the inode numbers of directories, ascending
   */
  finish(taken: Iterable<BlockRun>, highestInode: number, directories: readonly number[]): void {
    const { blocksPerGroup } = this.superblock;
    for (const [start, blocks] of taken) {
      this.#bitmap.set(start, blocks);
      const last = Math.floor((start + blocks - 1) / blocksPerGroup);
      for (let group = Math.floor(start / blocksPerGroup); group <= last; group++) this.#initialized[group] = true;
    }
    const free = this.#finishBlocks();
    this.#finishInodes(highestInode, directories);
    this.superblock.setFree(free, this.superblock.inodes - highestInode);
    for (const [group, descriptor] of this.#descriptors.entries())
      descriptor.finish(group, this.superblock.checksumSeed);
    this.#writeDescriptors();
  }

  #readBitmaps(): void {
    const { groups, blocksPerGroup, inodesPerGroup } = this.superblock;
    const tableBlocks = Math.ceil((inodesPerGroup * INODE_SIZE) / BLOCK_SIZE);
    for (let group = 0; group < groups; group++) {
      const descriptor = this.#descriptors[group];
      if (descriptor === undefined) break;
      this.#bitmap.set(descriptor.blockBitmap, 1);
      this.#bitmap.set(descriptor.inodeBitmap, 1);
      this.#bitmap.set(descriptor.inodeTable, tableBlocks);
      if (this.superblock.hasBackup(group)) this.#bitmap.set(group * blocksPerGroup, this.#backupBlocks());
    }
    // Last, because a group's own bitmap also covers what other groups keep in it.
    for (let group = 0; group < groups; group++) {
      const descriptor = this.#descriptors[group];
      if (descriptor === undefined || descriptor.blocksUninitialized) continue;
      const bytes = this.#image.read(descriptor.blockBitmap * BLOCK_SIZE, blocksPerGroup / 8);
      const at = (group * blocksPerGroup) / 8;
      for (let i = 0; i < bytes.length; i++)
        this.#bitmap.bytes[at + i] = (this.#bitmap.bytes[at + i] ?? 0) | (bytes[i] ?? 0);
    }
  }

  #backupBlocks(): number {
    return 1 + Math.ceil(this.#table.length / BLOCK_SIZE) + this.superblock.reservedDescriptorBlocks;
  }

  #finishBlocks(): number {
    const { blocks, blocksPerGroup, checksumSeed } = this.superblock;
    let allFree = 0;
    this.#descriptors.forEach((descriptor, group) => {
      const first = group * blocksPerGroup;
      const size = Math.min(blocksPerGroup, blocks - first);
      const free = blocksPerGroup - this.#bitmap.countUsed(first, blocksPerGroup);
      allFree += Math.min(free, size);
      if (!this.#initialized[group]) return;
      const bytes = this.#bitmap.bytes.subarray(first / 8, (first + blocksPerGroup) / 8);
      // A group may have fewer blocks than a bitmap block has bits: mke2fs makes them smaller where they would have too many inodes.
      const block = Buffer.alloc(BLOCK_SIZE, 0xff);
      bytes.copy(block);
      this.#image.writeBlock(descriptor.blockBitmap, block);
      descriptor.setBlocks(free, crc32c(checksumSeed, bytes));
    });
    return allFree;
  }

  #finishInodes(highest: number, directories: readonly number[]): void {
    const { inodesPerGroup, checksumSeed } = this.superblock;
    const directoriesIn = new Array<number>(this.#descriptors.length).fill(0);
    for (const number of directories) {
      const group = Math.floor((number - 1) / inodesPerGroup);
      directoriesIn[group] = (directoriesIn[group] ?? 0) + 1;
    }
    this.#descriptors.forEach((descriptor, group) => {
      const used = Math.min(Math.max(highest - group * inodesPerGroup, 0), inodesPerGroup);
      if (used === 0) return;
      const bitmap = new Bitmap(inodesPerGroup, BLOCK_SIZE * 8);
      bitmap.set(0, used);
      this.#image.writeBlock(descriptor.inodeBitmap, bitmap.bytes);
      const checksum = crc32c(checksumSeed, bitmap.bytes, 0, inodesPerGroup / 8);
      descriptor.setInodes(inodesPerGroup - used, directoriesIn[group] ?? 0, inodesPerGroup - used, checksum);
    });
  }

  #writeDescriptors(): void {
    const { groups, blocksPerGroup } = this.superblock;
    this.#image.flush();
    for (let group = 0; group < groups; group++) {
      if (!this.superblock.hasBackup(group)) continue;
      const start = group * blocksPerGroup * BLOCK_SIZE;
      this.#image.write(group === 0 ? SUPERBLOCK_OFFSET : start, this.superblock.copyFor(group));
      this.#image.write(start + BLOCK_SIZE, this.#table);
    }
  }
}
