import { RootfsError } from '../error.ts';
import type { LayerEntry } from '../layer/entry.ts';
import { quote } from '../layer/path.ts';
import { type Directory, type Inode, isDirectory, newDirectory } from './inode.ts';
import { hideChildren, hideName, removeName, whiteout } from './whiteout.ts';

/** As many symlinks as Linux follows in one path (path_resolution(7)). */
const MAX_SYMLINKS = 40;

/**
 * Merges layers, bottom first, into one tree by the rules of the OCI image specification, "Image Layer Filesystem
 * Changeset", as umoci applies them. Pure: it reads the entries and makes the tree.
 *
 * @throws RootfsError `layer_corrupt` for a hard link to what is not there, a name below a file, a loop of symlinks
 */
export function mergeLayers(layers: readonly Iterable<LayerEntry>[]): Directory {
  const root = newDirectory();
  layers.forEach((entries, layer) => {
    const merge = new LayerMerge(root, layer);
    for (const entry of entries) merge.apply(entry);
  });
  return root;
}

class LayerMerge {
  readonly #root: Directory;
  readonly #layer: number;
  /** Entries of a directory mostly come one after the other. */
  #lastParentPath: string | undefined;
  #lastParent: Directory;

  constructor(root: Directory, layer: number) {
    this.#root = root;
    this.#layer = layer;
    this.#lastParent = root;
  }

  apply(entry: LayerEntry): void {
    if (entry.path === '') {
      this.#applyRoot(entry);
      return;
    }
    const slash = entry.path.lastIndexOf('/');
    const parentPath = slash < 0 ? '' : entry.path.slice(0, slash);
    const name = entry.path.slice(slash + 1);
    const hidden = whiteout(name);
    if (hidden !== undefined) {
      this.#applyWhiteout(parentPath, hidden);
      return;
    }
    const parent = this.#parent(parentPath, entry);
    if (entry.type === 'link') this.#link(parent, name, entry);
    else this.#put(parent, name, entry);
  }

  #applyRoot(entry: LayerEntry): void {
    if (entry.type !== 'directory') throw corrupt(entry, 'is the root, but not a directory');
    setAttributes(this.#root, entry);
  }

  #applyWhiteout(parentPath: string, hidden: NonNullable<ReturnType<typeof whiteout>>): void {
    this.#lastParentPath = undefined;
    const directory = this.#resolve(parentPath, undefined);
    if (directory === undefined) return;
    if (hidden.kind === 'opaque') hideChildren(directory, this.#layer);
    else hideName(directory, hidden.hidden, this.#layer);
  }

  #put(parent: Directory, name: string, entry: LayerEntry): void {
    const existing = parent.children.get(name);
    if (entry.type === 'directory' && isDirectory(existing)) {
      setAttributes(existing, entry);
      existing.touched = this.#layer;
      return;
    }
    this.#replace(parent, name, newInode(entry, this.#layer));
  }

  #link(parent: Directory, name: string, entry: LayerEntry): void {
    const slash = entry.target.lastIndexOf('/');
    const directory = this.#resolve(slash < 0 ? '' : entry.target.slice(0, slash), undefined);
    const target = directory?.children.get(entry.target.slice(slash + 1));
    if (target === undefined) throw corrupt(entry, `is a hard link to ${quote(entry.target)}, which is not there`);
    if (isDirectory(target)) throw corrupt(entry, `is a hard link to the directory ${quote(entry.target)}`);
    if (parent.children.get(name) === target) return;
    target.touched = this.#layer;
    target.names++;
    this.#replace(parent, name, target);
  }

  #replace(parent: Directory, name: string, inode: Inode): void {
    if (parent.children.has(name)) {
      if (isDirectory(parent.children.get(name))) this.#lastParentPath = undefined;
      removeName(parent, name);
    }
    if (inode.type === 'symlink') this.#lastParentPath = undefined;
    parent.children.set(name, inode);
  }

  /** The directory of an entry, made where it is missing, and marked as touched by this layer with all above it. */
  #parent(path: string, entry: LayerEntry): Directory {
    if (path === this.#lastParentPath) return this.#lastParent;
    const directory = this.#resolve(path, entry);
    if (directory === undefined) throw new RootfsError('internal', `no directory for ${quote(entry.path)}`);
    this.#lastParentPath = path;
    this.#lastParent = directory;
    return directory;
  }

  /**
   * The directory that a path leads to, following symlinks inside the root only. With an entry given it is made where
   * it is missing, otherwise the answer is then undefined.
   */
  #resolve(path: string, entry: LayerEntry | undefined): Directory | undefined {
    const pending = path === '' ? [] : path.split('/').reverse();
    const above: Directory[] = [this.#root];
    let symlinks = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (above.length > 1) above.pop();
        continue;
      }
      const directory = above.at(-1) ?? this.#root;
      let child = directory.children.get(name);
      if (child?.type === 'symlink') {
        if (++symlinks > MAX_SYMLINKS) {
          if (entry === undefined) return undefined;
          throw corrupt(entry, 'lies below a loop of symlinks');
        }
        if (child.target.startsWith('/')) above.length = 1;
        pending.push(...child.target.split('/').reverse());
        continue;
      }
      if (child === undefined) {
        if (entry === undefined) return undefined;
        child = newDirectory();
        directory.children.set(name, child);
      }
      if (!isDirectory(child)) {
        if (entry === undefined) return undefined;
        throw corrupt(entry, 'lies below something that is no directory');
      }
      above.push(child);
    }
    if (entry !== undefined) for (const directory of above) directory.touched = this.#layer;
    return above.at(-1);
  }
}

function newInode(entry: LayerEntry, layer: number): Inode {
  if (entry.type === 'link') throw new RootfsError('internal', 'a hard link is no inode');
  return {
    type: entry.type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    xattrs: entry.xattrs,
    size: entry.size,
    runs: entry.runs,
    layer,
    target: entry.target,
    deviceMajor: entry.deviceMajor,
    deviceMinor: entry.deviceMinor,
    names: 1,
    children: entry.type === 'directory' ? new Map() : undefined,
    touched: layer,
  };
}

function setAttributes(directory: Directory, entry: LayerEntry): void {
  directory.mode = entry.mode;
  directory.uid = entry.uid;
  directory.gid = entry.gid;
  directory.mtimeSeconds = entry.mtimeSeconds;
  directory.mtimeNanoseconds = entry.mtimeNanoseconds;
  directory.xattrs = entry.xattrs;
}

function corrupt(entry: LayerEntry, what: string): RootfsError {
  return new RootfsError('layer_corrupt', `the layer's entry ${quote(entry.path)} ${what}`);
}
