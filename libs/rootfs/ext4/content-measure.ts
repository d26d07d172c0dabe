import type { Inode } from '../tree/inode-table.ts';
import type { Tree } from '../tree/tree.ts';
import { attributesOf, directoryBlockCount, isFastSymlink, plannedBlocks } from './content.ts';
import { linearBlocks } from './directory.ts';
import { extentTreeBlocks } from './extent.ts';
import { BLOCK_SIZE } from './format.ts';
import type { Numbering } from './numbering.ts';
import { placeAttributes } from './xattr.ts';

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
