import type { Inode } from '../tree/inode-table.ts';
import type { Tree } from '../tree/tree.ts';
import { FIRST_FREE_INODE, LOST_AND_FOUND_INODE, ROOT_INODE } from './format.ts';
import { LOST_AND_FOUND } from './lost-and-found.ts';

/** Maps the inodes of a tree to their numbers in the file system, and back. */
export class Numbering {
  readonly tree: Tree;
  readonly #inodes: Uint32Array;
  readonly #numbers: Uint32Array;
  readonly #parents: Uint32Array;
  #highest = FIRST_FREE_INODE - 1;

  /**
   * Numbers a tree breadth first, so that the entries of a directory are together in the inode table.
   */
  constructor(tree: Tree) {
    const { inodes, names, root } = tree;
    this.tree = tree;
    this.#inodes = new Uint32Array(FIRST_FREE_INODE + inodes.count);
    this.#parents = new Uint32Array(FIRST_FREE_INODE + inodes.count);
    this.#numbers = new Uint32Array(inodes.end);
    this.#give(root, ROOT_INODE, ROOT_INODE);
    const lostAndFound = tree.child(root, LOST_AND_FOUND);
    if (lostAndFound !== undefined) this.#give(lostAndFound, LOST_AND_FOUND_INODE, ROOT_INODE);
    const directories = [root];
    for (let at = 0; at < directories.length; at++) {
      const directory = directories[at] ?? root;
      for (const name of tree.namesIn(directory)) {
        const child = names.inode(name);
        if (inodes.isDirectory(child)) directories.push(child);
        if (this.numberOf(child) === 0) this.#give(child, ++this.#highest, this.numberOf(directory));
      }
    }
  }

  /** The highest number; all numbers below it, except the reserved ones, are inodes of the tree. */
  get highest(): number {
    return this.#highest;
  }

  /** The numbers of the tree's inodes, ascending; an inode with several names appears once. */
  *numbers(): Iterable<number> {
    for (let number = ROOT_INODE; number <= this.#highest; number++) if (this.inodeOf(number) > 0) yield number;
  }

  /** The tree's inode with this number; 0 for a reserved number. */
  inodeOf(number: number): Inode {
    return this.#inodes[number] ?? 0;
  }

  numberOf(inode: Inode): number {
    return this.#numbers[inode] ?? 0;
  }

  /** The number of the directory in which the inode with this number was first found. */
  parentOf(number: number): number {
    return this.#parents[number] ?? 0;
  }

  /** A path of the inode with this number, as a byte string, for messages. */
  pathOf(number: number): string {
    const { names, root } = this.tree;
    const path: string[] = [];
    for (let at = number; this.inodeOf(at) !== root; at = this.parentOf(at)) {
      const [name] = [...this.tree.namesIn(this.inodeOf(this.parentOf(at)))].filter(
        (one) => names.inode(one) === this.inodeOf(at),
      );
      path.unshift(name === undefined ? '?' : names.text(name));
    }
    return `/${path.join('/')}`;
  }

  #give(inode: Inode, number: number, parent: number): void {
    this.#inodes[number] = inode;
    this.#numbers[inode] = number;
    this.#parents[number] = parent;
  }
}
