import type { Inode } from '../tree/inode-table.ts';
import type { Tree } from '../tree/tree.ts';
import { type DirectoryEntries, type DirectoryPlan, dropPlan, linearBlocks, planDirectory } from './directory.ts';
import type { HashSeed } from './directory-hash.ts';
import { extentTreeBlocks } from './extent.ts';
import { BLOCK_SIZE, DirectoryType, LOST_AND_FOUND_BLOCKS, LOST_AND_FOUND_INODE } from './format.ts';
import type { Numbering } from './numbering.ts';
import { type Attribute, placeAttributes, toAttribute } from './xattr.ts';

/** Most bytes of a symlink's target that is stored in the inode. */
const FAST_SYMLINK = 59;

/** The plan of a directory, with its entries' inode numbers. */
export function planOf(directory: Inode, numbering: Numbering, hashSeed: HashSeed): DirectoryPlan {
  return planDirectory(entriesOf(directory, numbering), hashSeed);
}

/** Number of blocks in a directory's plan. */
export function plannedBlocks(directory: Inode, numbering: Numbering, hashSeed: HashSeed): number {
  const plan = planOf(directory, numbering, hashSeed);
  dropPlan(plan);
  return plan.blocks;
}

function entriesOf(directory: Inode, numbering: Numbering): DirectoryEntries {
  const { tree } = numbering;
  const { names, inodes } = tree;
  let count = 0;
  for (let name = names.first(directory); name > 0; name = names.next(name)) count++;
  const entries = {
    strings: names.strings,
    names: new Uint32Array(count),
    inodes: new Uint32Array(count),
    types: new Uint8Array(count),
  };
  let i = 0;
  for (let name = names.first(directory); name > 0; name = names.next(name), i++) {
    entries.names[i] = names.stringOf(name);
    entries.inodes[i] = numbering.numberOf(names.inode(name));
    entries.types[i] = DirectoryType[inodes.type(names.inode(name))];
  }
  return entries;
}

/** Most blocks of a directory without an index. */
const MAX_LINEAR_BLOCKS = 2;

/**
 * Blocks that a directory gets when its entries take `blocks`: lost+found has a minimum, unless it has an index, which must refer to each of
 * its blocks.
 */
export function directoryBlockCount(blocks: number, number: number): number {
  return number === LOST_AND_FOUND_INODE && blocks <= MAX_LINEAR_BLOCKS ? LOST_AND_FOUND_BLOCKS : blocks;
}

export function isFastSymlink({ inodes }: Tree, inode: Inode): boolean {
  return inodes.type(inode) === 'symlink' && inodes.targetLength(inode) <= FAST_SYMLINK;
}

/** The attributes of an inode that ext4 can keep. */
export function attributesOf({ inodes }: Tree, inode: Inode): Attribute[] {
  const type = inodes.type(inode);
  return inodes.xattrs(inode).flatMap(([name, value]) => toAttribute(type, name, value) ?? []);
}

/** How much room a tree's content takes, without the inode tables. */
export interface ContentMeasure {
  /** All blocks. */
  readonly blocks: number;
  /** Bytes of file data among them. */
  readonly dataBytes: number;
  /** By inode number: the blocks of a directory without an index; 0 for everything else. */
  readonly linearBlocks: Uint8Array;
}

/** Counts the blocks that a tree will take, before there is a file system. */
export function measureContent(numbering: Numbering): ContentMeasure {
  const { tree } = numbering;
  const linear = new Uint8Array(numbering.highest + 1);
  let metadataBlocks = 0;
  let dataBlocks = 0;
  for (const number of numbering.numbers()) {
    const inode = numbering.inodeOf(number);
    let runs = 0;
    tree.inodes.forEachRun(inode, (_fileBlock, _dataBlock, blocks) => {
      runs++;
      dataBlocks += blocks;
    });
    metadataBlocks += extentTreeBlocks(runs) + attributeBlocks(tree, inode);
    if (tree.inodes.isDirectory(inode)) {
      // Most directories are small, so that their names need not be hashed here (40 to 80 ms for 27,000 entries).
      linear[number] = linearBlocks(nameLengths(inode, tree)) ?? 0;
      metadataBlocks += directoryBlockCount(linear[number] || measureIndexed(inode, numbering), number);
    } else if (tree.inodes.type(inode) === 'symlink' && !isFastSymlink(tree, inode)) metadataBlocks++;
  }
  return { blocks: metadataBlocks + dataBlocks, dataBytes: dataBlocks * BLOCK_SIZE, linearBlocks: linear };
}

function attributeBlocks(tree: Tree, inode: Inode): number {
  if (tree.inodes.xattrs(inode).length === 0) return 0;
  return (placeAttributes(attributesOf(tree, inode))?.inBlock.length ?? 1) > 0 ? 1 : 0;
}

/** Blocks of a directory with an index. The real seed is not known yet: it moves names between blocks, but hardly changes their number. */
function measureIndexed(directory: Inode, numbering: Numbering): number {
  return plannedBlocks(directory, numbering, [1, 2, 3, 4]);
}

function* nameLengths(directory: Inode, tree: Tree): Iterable<number> {
  for (const name of tree.namesIn(directory)) yield tree.names.length(name);
}
