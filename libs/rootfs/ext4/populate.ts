import { RootfsError } from '../error.ts';
import { type Inode, isDirectory } from '../tree/inode.ts';
import { BlockAllocator } from './allocator.ts';
import { BlockGroups } from './block-groups.ts';
import { attributesOf, directoryBlockCount, isFastSymlink, planOf } from './content.ts';
import { addCopyRun, type CopyRun } from './data-copy.ts';
import { directoryBlocks } from './directory.ts';
import { buildExtentTree, type Extent, ExtentList, extentTreeBlocks } from './extent.ts';
import { BLOCK_SIZE, INODE_SIZE, InodeFlag, LOST_AND_FOUND_INODE, ROOT_INODE } from './format.ts';
import { ImageFile } from './image-file.ts';
import { deviceBlock, type InodeRecord, inodeSeed, writeInode } from './inode-record.ts';
import type { NumberedInode, Numbering } from './numbering.ts';
import { attributeBlock, placeAttributes } from './xattr.ts';

/** Links that an inode can count (the kernel's EXT4_LINK_MAX); a directory with more has 1 (dir_nlink). */
const MAX_LINKS = 65_000;

/** Where an inode's content lies. */
interface Placement {
  readonly extents: readonly Extent[];
  readonly size: number;
  readonly indexed: boolean;
}

/**
 * Writes a tree into the empty file system that mke2fs made: directories and other metadata first, then room for all
 * file data in the order in which the layers have it, so that it is copied in large runs; then inodes, bitmaps and
 * descriptors. With that the file system is whole, but for the data: what is to be copied comes back.
 *
 * @throws RootfsError `image_too_large` when it does not fit, `layer_corrupt` for what ext4 cannot hold
 */
export function populate(path: string, numbering: Numbering): CopyRun[] {
  const image = new ImageFile(path);
  try {
    const population = new Population(image, numbering);
    population.placeMetadata();
    const copies = population.placeData();
    population.writeInodes();
    population.finish();
    return copies;
  } finally {
    image.close();
  }
}

class Population {
  readonly #image: ImageFile;
  readonly #numbering: Numbering;
  readonly #groups: BlockGroups;
  readonly #allocator: BlockAllocator;
  readonly #seed: number;
  readonly #placements = new Map<Inode, Placement>();
  readonly #attributeBlocks = new Map<Inode, number>();
  /** Roots of the extent trees that take blocks, and how many those are. */
  readonly #extentTrees = new Map<Inode, { readonly root: Buffer; readonly blocks: number }>();

  constructor(image: ImageFile, numbering: Numbering) {
    this.#image = image;
    this.#numbering = numbering;
    this.#groups = new BlockGroups(image);
    this.#seed = this.#groups.superblock.checksumSeed;
    if (numbering.highest > this.#groups.superblock.inodes) {
      throw new RootfsError(
        'image_too_large',
        `the image has ${numbering.highest} inodes, more than a file system of this size has; ask for a larger --size`,
      );
    }
    this.#releaseOriginal(ROOT_INODE);
    this.#releaseOriginal(LOST_AND_FOUND_INODE);
    this.#allocator = new BlockAllocator(this.#groups.freeRuns());
  }

  /** Directories, long symlinks and blocks of attributes, in the order of the inodes: what a boot reads first lies together. */
  placeMetadata(): void {
    for (const numbered of this.#numbering.inodes) {
      const { inode } = numbered;
      if (inode.xattrs.length > 0) this.#placeAttributes(numbered);
      if (inode.children !== undefined) this.#placeDirectory(numbered);
      else if (inode.type === 'symlink' && !isFastSymlink(inode)) this.#placeSymlink(inode);
    }
  }

  /** File data, in the order of layers and of the data in them; what is to be copied comes back. */
  placeData(): CopyRun[] {
    const copies: CopyRun[] = [];
    const files = this.#numbering.inodes.map(({ inode }) => inode).filter((inode) => inode.runs.length > 0);
    files.sort((a, b) => a.layer - b.layer || (a.runs[0]?.[1] ?? 0) - (b.runs[0]?.[1] ?? 0));
    for (const inode of files) {
      const list = new ExtentList();
      for (const [fileBlock, dataBlock, blocks] of inode.runs) {
        let done = 0;
        for (const [start, count] of this.#allocator.take(blocks)) {
          list.add(fileBlock + done, start, count);
          addCopyRun(copies, { layer: inode.layer, from: dataBlock + done, to: start, blocks: count });
          done += count;
        }
      }
      this.#placements.set(inode, { extents: list.extents, size: inode.size, indexed: false });
    }
    return copies;
  }

  writeInodes(): void {
    const bytes = Buffer.alloc(BLOCK_SIZE);
    let blockOffset = -1;
    const flush = () => {
      if (blockOffset >= 0) this.#image.writeBlock(blockOffset / BLOCK_SIZE, bytes);
    };
    this.#writeExtentTrees();
    for (const numbered of this.#numbering.inodes) {
      // One at a time: 500,000 of them, each with a buffer, would take some 200 MB.
      const record = this.#record(numbered);
      const offset = this.#groups.inodeOffset(record.number);
      const block = offset - (offset % BLOCK_SIZE);
      if (block !== blockOffset) {
        flush();
        blockOffset = block;
        this.#image.flush();
        this.#image.read(block, BLOCK_SIZE).copy(bytes);
      }
      writeInode(bytes, offset % BLOCK_SIZE, record, this.#seed);
    }
    flush();
    this.#image.flush();
  }

  /** Extent trees that take blocks are written before any inode: their writes would break up those of the inode table. */
  #writeExtentTrees(): void {
    for (const { inode, number } of this.#numbering.inodes) {
      const { extents } = this.#placements.get(inode) ?? NO_PLACEMENT;
      if (extentTreeBlocks(extents.length) === 0) continue;
      const tree = this.#extentTree(extents, number);
      for (const { block, bytes } of tree.blocks) this.#image.writeBlock(block, bytes);
      this.#extentTrees.set(inode, { root: tree.root, blocks: tree.blocks.length });
    }
  }

  #extentTree(extents: readonly Extent[], number: number): ReturnType<typeof buildExtentTree> {
    return buildExtentTree(extents, inodeSeed(this.#seed, number), () => this.#takeBlock());
  }

  finish(): void {
    const directories = this.#numbering.inodes.filter(({ inode }) => isDirectory(inode)).map(({ number }) => number);
    this.#groups.finish(this.#allocator.taken, this.#numbering.highest, directories);
    this.#image.flush();
  }

  /** Frees the blocks that mke2fs gave to an inode which is written anew. */
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

  #placeAttributes({ inode, number }: NumberedInode): void {
    const placement = placeAttributes(attributesOf(inode));
    if (placement === undefined) {
      throw new RootfsError(
        'layer_corrupt',
        `an entry of the image has more extended attributes than ext4 can hold (4 KiB; inode ${number})`,
      );
    }
    if (placement.inBlock.length === 0) return;
    const block = this.#takeBlock();
    this.#attributeBlocks.set(inode, block);
    this.#image.writeBlock(block, attributeBlock(placement.inBlock, block, this.#seed));
  }

  #placeDirectory({ inode, number, parent }: NumberedInode): void {
    if (!isDirectory(inode)) return;
    const plan = planOf(inode, this.#numbering, this.#groups.superblock.hashSeed);
    const count = directoryBlockCount(plan, number);
    const { extents, numbers } = this.#take(count);
    let i = 0;
    for (const bytes of directoryBlocks(plan, number, parent, inodeSeed(this.#seed, number), count)) {
      this.#image.writeBlock(numbers[i++] ?? 0, bytes);
    }
    this.#placements.set(inode, { extents, size: count * BLOCK_SIZE, indexed: plan.indexed });
  }

  #placeSymlink(inode: Inode): void {
    if (inode.target.length >= BLOCK_SIZE) {
      throw new RootfsError(
        'layer_corrupt',
        `the image has a symlink with a target of ${inode.target.length} bytes; ext4 holds up to ${BLOCK_SIZE - 1}`,
      );
    }
    const { extents, numbers } = this.#take(1);
    const bytes = Buffer.alloc(BLOCK_SIZE);
    bytes.write(inode.target, 'latin1');
    this.#image.writeBlock(numbers[0] ?? 0, bytes);
    this.#placements.set(inode, { extents, size: inode.target.length, indexed: false });
  }

  #take(blocks: number): { extents: readonly Extent[]; numbers: number[] } {
    const list = new ExtentList();
    const numbers: number[] = [];
    for (const [start, count] of this.#allocator.take(blocks)) {
      list.add(numbers.length, start, count);
      for (let i = 0; i < count; i++) numbers.push(start + i);
    }
    return { extents: list.extents, numbers };
  }

  #takeBlock(): number {
    const [run] = this.#allocator.take(1);
    if (run === undefined) throw new RootfsError('internal', 'no block where one was taken');
    return run[0];
  }

  #record({ inode, number }: NumberedInode): InodeRecord {
    const attributeBlockNumber = this.#attributeBlocks.get(inode) ?? 0;
    const { block, blocks, flags, size } = this.#mapping(inode, number);
    return {
      number,
      inode,
      links: linkCount(inode, number),
      size,
      flags,
      blocks: blocks + (attributeBlockNumber > 0 ? 1 : 0),
      block,
      attributeBlock: attributeBlockNumber,
      inInodeAttributes:
        (inode.xattrs.length > 0 ? placeAttributes(attributesOf(inode))?.inInode : undefined) ?? NO_BYTES,
    };
  }

  #mapping(inode: Inode, number: number): { block: Buffer; blocks: number; flags: number; size: number } {
    if (inode.type === 'character-device' || inode.type === 'block-device') {
      return { block: deviceBlock(inode.deviceMajor, inode.deviceMinor), blocks: 0, flags: 0, size: 0 };
    }
    if (inode.type === 'fifo') return { block: NO_BYTES, blocks: 0, flags: 0, size: 0 };
    if (isFastSymlink(inode))
      return { block: Buffer.from(inode.target, 'latin1'), blocks: 0, flags: 0, size: inode.target.length };
    const placement = this.#placements.get(inode) ?? { extents: [], size: inode.size, indexed: false };
    const written = this.#extentTrees.get(inode);
    const root = written?.root ?? this.#extentTree(placement.extents, number).root;
    const content = placement.extents.reduce((sum, extent) => sum + extent.blocks, 0);
    return {
      block: root,
      blocks: content + (written?.blocks ?? 0),
      flags: InodeFlag.extents | (placement.indexed ? InodeFlag.index : 0),
      size: placement.size,
    };
  }
}

const NO_BYTES = Buffer.alloc(0);
const NO_PLACEMENT: Pick<Placement, 'extents'> = { extents: [] };

function linkCount(inode: Inode, number: number): number {
  if (inode.children !== undefined) {
    let links = 2;
    for (const child of inode.children.values()) if (isDirectory(child)) links++;
    return links >= MAX_LINKS ? 1 : links;
  }
  if (inode.names > MAX_LINKS) {
    throw new RootfsError(
      'layer_corrupt',
      `the image has a file with ${inode.names} hard links; ext4 counts up to ${MAX_LINKS} (inode ${number})`,
    );
  }
  return inode.names;
}
