import { ByteStrings } from './byte-strings.ts';
import { type Inode, InodeTable } from './inode-table.ts';
import { type Name, NameTable } from './name-table.ts';
import { TreeMemory } from './tree-memory.ts';

const UNSTATED = { uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, xattrs: [] };
const NO_CONTENT = { size: 0, runs: [], target: '', deviceMajor: 0, deviceMinor: 0 };

/**
 * A tree of files: inodes, and the names in directories that refer to them. Names of the same inode are hard links to it; it is
 * removed with the last of them.
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

  /** The number of names, and the root: each hard link counts, as each takes memory. */
  get entries(): number {
    return 1 + this.names.count;
  }

  /** Makes a directory that no layer states, without a name yet: owned by root, 0755, mtime 0. */
  newDirectory(mode = 0o755): Inode {
    return this.inodes.add('directory', { ...UNSTATED, mode }, 0, NO_CONTENT);
  }

  /** The inode of a name in a directory; undefined when there is no such name. */
  child(directory: Inode, text: string): Inode | undefined {
    const name = this.names.find(directory, text);
    return name === 0 ? undefined : this.names.inode(name);
  }

  /** Gives an inode a name, stated by a layer, replacing what had it. The name becomes the last of its directory. */
  put(directory: Inode, text: string, inode: Inode, layer: number): void {
    this.inodes.countName(inode, 1);
    this.remove(this.names.find(directory, text));
    this.names.add(directory, text, inode, layer);
  }

  /** Makes a name, not of a directory, refer to another inode without changing its position. */
  redirect(name: Name, inode: Inode): void {
    const before = this.names.inode(name);
    this.inodes.countName(inode, 1);
    this.names.redirect(name, inode);
    if (this.inodes.countName(before, -1) === 0) this.inodes.remove(before);
  }

  /** Removes a name and everything below it from the tree; does nothing for 0. */
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

  /** The names in a directory, in the order they were added. None may be removed while iterating. */
  *namesIn(directory: Inode): Iterable<Name> {
    for (let name = this.names.first(directory); name > 0; name = this.names.next(name)) yield name;
  }

  /** Compacts the memory of names and targets if most of it belongs to removed ones. */
  tidy(): void {
    if (!this.#strings.wasteful) return;
    const strings = new ByteStrings();
    this.inodes.moveStrings(strings);
    this.names.moveStrings(strings);
    this.#strings.release();
    this.#strings = strings;
  }

  /**
   * Frees the memory of the tree, which cannot be used afterwards. Left to the garbage collector, it would still be there when an idle
   * thread starts the next image.
   */
  release(): void {
    this.names.release();
    this.#memory.release();
    this.#strings.release();
  }
}
