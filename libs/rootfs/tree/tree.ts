import { ByteStrings } from './byte-strings.ts';
import { type Inode, InodeTable } from './inode-table.ts';
import { type Name, NameTable } from './name-table.ts';
import { TreeMemory } from './tree-memory.ts';

const UNSTATED = { uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, xattrs: [] };
const NO_CONTENT = { size: 0, runs: [], target: '', deviceMajor: 0, deviceMinor: 0 };

/**
 * A tree of files: inodes, and the names in directories that lead to them. An inode that several names lead to is a
 * hard link, and is gone when the last of them is.
 */
export class Tree {
  readonly inodes: InodeTable;
  readonly names: NameTable;
  readonly root: Inode;
  readonly #memory = new TreeMemory();
  #strings = new ByteStrings();

  constructor() {
    this.inodes = new InodeTable(this.#strings, this.#memory);
    this.names = new NameTable(this.#strings, this.#memory);
    this.root = this.newDirectory();
    this.inodes.countName(this.root, 1);
  }

  /** The root and all names; a file of several hard links counts with each, as it takes memory. */
  get entries(): number {
    return 1 + this.names.count;
  }

  /** A directory that no layer states, without a name yet: root's, 0755, of the epoch. */
  newDirectory(mode = 0o755): Inode {
    return this.inodes.add('directory', { ...UNSTATED, mode }, 0, NO_CONTENT);
  }

  /** What a directory's name leads to; undefined when there is no such name. */
  child(directory: Inode, text: string): Inode | undefined {
    const name = this.names.find(directory, text);
    return name === 0 ? undefined : this.names.inode(name);
  }

  /** Gives an inode a name, which a layer states; what had it loses it. The name is then the last of its directory. */
  put(directory: Inode, text: string, inode: Inode, layer: number): void {
    this.inodes.countName(inode, 1);
    this.remove(this.names.find(directory, text));
    this.names.add(directory, text, inode, layer);
  }

  /** Has a name that leads to no directory lead to this inode, in the same place. */
  redirect(name: Name, inode: Inode): void {
    const before = this.names.inode(name);
    this.inodes.countName(inode, 1);
    this.names.redirect(name, inode);
    if (this.inodes.countName(before, -1) === 0) this.inodes.remove(before);
  }

  /** Takes a name, if it is one, and all below it out of the tree. */
  remove(name: Name): void {
    const pending = name === 0 ? [] : [name];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const inode = this.names.inode(next);
      this.names.remove(next);
      if (this.inodes.countName(inode, -1) > 0) continue;
      for (const child of this.namesIn(inode)) pending.push(child);
      this.inodes.remove(inode);
    }
  }

  /** The names in a directory, in the order in which they came. None may be taken away meanwhile. */
  *namesIn(directory: Inode): Iterable<Name> {
    for (let name = this.names.first(directory); name > 0; name = this.names.next(name)) yield name;
  }

  /** Gives back the memory of names and targets that are gone, where they are many. */
  tidy(): void {
    if (!this.#strings.wasteful) return;
    const strings = new ByteStrings();
    this.inodes.moveStrings(strings);
    this.names.moveStrings(strings);
    this.#strings.release();
    this.#strings = strings;
  }

  /**
   * Gives the memory of the tree back, which has nothing in it any more. Left to the collector, that of one image is still there when a
   * thread that has nothing to do until then builds the next.
   */
  release(): void {
    this.names.release();
    this.#memory.release();
    this.#strings.release();
  }
}
