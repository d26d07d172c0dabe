import type { Inode } from '../tree/inode-table.ts';
import type { Tree } from '../tree/tree.ts';
import { type DirectoryEntries, type DirectoryPlan, dropPlan, planDirectory } from './directory.ts';
import type { HashSeed } from './directory-hash.ts';
import { DirectoryType, LOST_AND_FOUND_BLOCKS, LOST_AND_FOUND_INODE } from './format.ts';
import type { Numbering } from './numbering.ts';
import { type Attribute, toAttribute } from './xattr.ts';

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
