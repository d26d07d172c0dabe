import { RootfsError } from '../error.ts';
import { type Directory, type Inode, isDirectory, newDirectory } from '../tree/inode.ts';
import { FIRST_FREE_INODE, LOST_AND_FOUND_INODE, ROOT_INODE } from './format.ts';

/** An inode of the tree with its number in the file system. */
export interface NumberedInode {
  readonly number: number;
  readonly inode: Inode;
  /** Number of the directory that it was first found in. */
  readonly parent: number;
}

export interface Numbering {
  /** By number; what several names lead to is here once. */
  readonly inodes: readonly NumberedInode[];
  readonly numberOf: (inode: Inode) => number;
  readonly highest: number;
}

/**
 * Makes the directory that e2fsck puts what it finds into; an image that brings its own keeps it. Anything else of that
 * name gives way, since e2fsck takes no file system without it: then the answer is false.
 */
export function ensureLostAndFound(root: Directory): boolean {
  const present = root.children.get('lost+found');
  if (isDirectory(present)) return true;
  if (present !== undefined) present.names--;
  root.children.set('lost+found', newDirectory(0o700));
  return present === undefined;
}

/** Numbers a tree from the root on, directory by directory, so that what a directory names lies together in the inode table. */
export function numberInodes(root: Directory): Numbering {
  const numbers = new Map<Inode, number>([[root, ROOT_INODE]]);
  const lostAndFound = root.children.get('lost+found');
  const inodes: NumberedInode[] = [{ number: ROOT_INODE, inode: root, parent: ROOT_INODE }];
  if (lostAndFound !== undefined) {
    numbers.set(lostAndFound, LOST_AND_FOUND_INODE);
    inodes.push({ number: LOST_AND_FOUND_INODE, inode: lostAndFound, parent: ROOT_INODE });
  }
  let next = FIRST_FREE_INODE;
  const directories: Directory[] = [root];
  for (let at = 0; at < directories.length; at++) {
    const directory = directories[at];
    if (directory === undefined) break;
    const parent = numbers.get(directory) ?? ROOT_INODE;
    for (const child of directory.children.values()) {
      if (isDirectory(child)) directories.push(child);
      if (numbers.has(child)) continue;
      numbers.set(child, next);
      inodes.push({ number: next, inode: child, parent });
      next++;
    }
  }
  return {
    inodes,
    highest: next - 1,
    numberOf: (inode) => {
      const number = numbers.get(inode);
      if (number === undefined) throw new RootfsError('internal', 'an inode without a number');
      return number;
    },
  };
}
