import { RootfsError } from '../error.ts';
import type { LayerEntry } from '../layer/entry.ts';
import { checkEntries } from '../layer/limits.ts';
import { quote } from '../layer/path.ts';
import type { Inode } from './inode-table.ts';
import { keptAttributes } from './kept-attributes.ts';
import { Tree } from './tree.ts';
import { hideChildren, hideName, whiteout } from './whiteout.ts';

/** Most symlinks followed in one path, as in umoci (filepath-securejoin). */
const MAX_SYMLINKS = 255;
/**
 * Most path components of symlink targets that are resolved for all entries of an image. Four million entries below a symlink such as
 * `/bin` need some ten million; entries below long chains of long symlinks would need 500,000 each.
 */
const MAX_SYMLINK_NAMES = 100_000_000;
const MAX_NAME = 255;
/** Most bytes of a symlink's target on Linux: PATH_MAX less the NUL. */
const MAX_TARGET = 4095;
/** Most bytes of a file in an ext4 of 4 KiB blocks: block numbers have 32 bits. */
const MAX_FILE = (2 ** 32 - 1) * 4096;

/**
 * Merges layers, bottom first, into one tree by the rules of the OCI image specification, "Image Layer Filesystem
 * Changeset", as umoci applies them. Does no I/O.
 *
 * @param maxEntries bounds the memory, whatever the layers contain
 * @param maxSymlinkNames bounds the time; see `MAX_SYMLINK_NAMES`
 * @throws RootfsError `layer_corrupt` for a hard link to a missing file, a loop of symlinks, an empty whiteout or symlink target;
 * `layer_too_large` when `maxSymlinkNames` is exceeded; `image_too_large`
 */
export function mergeLayers(
  layers: readonly Iterable<LayerEntry>[],
  maxEntries = Number.POSITIVE_INFINITY,
  maxSymlinkNames = MAX_SYMLINK_NAMES,
): Tree {
  const tree = new Tree();
  const symlinks = { namesLeft: maxSymlinkNames };
  try {
    for (const [layer, entries] of layers.entries()) {
      const merge = new LayerMerge(tree, layer, symlinks);
      for (const entry of entries) {
        merge.apply(entry);
        checkEntries(maxEntries, tree.entries);
      }
      tree.tidy();
    }
  } catch (error) {
    // A million entries take 87 MB, which an idle thread would keep.
    tree.release();
    throw error;
  }
  return tree;
}

/** A component of a resolved path, and its inode; undefined when it does not exist. */
interface Step {
  readonly name: string;
  readonly inode: Inode | undefined;
}

class LayerMerge {
  readonly #tree: Tree;
  readonly #layer: number;
  readonly #symlinks: { namesLeft: number };
  /** See `hideName`. */
  readonly #cleared = new Set<Inode>();
  /** A cache, since the entries of a directory mostly follow each other. */
  #lastParentPath: string | undefined;
  #lastParent: Inode;

  constructor(tree: Tree, layer: number, symlinks: { namesLeft: number }) {
    this.#tree = tree;
    this.#layer = layer;
    this.#symlinks = symlinks;
    this.#lastParent = tree.root;
  }

  apply(entry: LayerEntry): void {
    if (entry.path === '') {
      if (entry.type !== 'directory') throw corrupt(entry, 'is the root, but not a directory');
      this.#tree.inodes.setAttributes(this.#tree.root, keptAttributes(entry));
      return;
    }
    const slash = entry.path.lastIndexOf('/');
    const parentPath = slash < 0 ? '' : entry.path.slice(0, slash);
    const name = entry.path.slice(slash + 1);
    const hidden = whiteout(name);
    if (hidden !== undefined) {
      if (hidden.kind === 'name' && ['', '.', '..'].includes(hidden.hidden)) throw corrupt(entry, 'hides nothing');
      this.#applyWhiteout(parentPath, hidden, entry);
    } else if (entry.type === 'link') this.#link(parentPath, name, entry);
    else this.#put(parentPath, name, entry);
  }

  #applyWhiteout(path: string, hidden: NonNullable<ReturnType<typeof whiteout>>, entry: LayerEntry): void {
    // There is nothing below the bottom layer.
    if (this.#layer === 0) return;
    this.#lastParentPath = undefined;
    const directory = this.#found(this.#resolve(path, entry));
    if (directory === undefined) return;
    if (hidden.kind === 'opaque') hideChildren(this.#tree, directory, this.#layer, this.#cleared);
    else hideName(this.#tree, this.#tree.names.find(directory, hidden.hidden), this.#layer, this.#cleared);
  }

  #put(path: string, text: string, entry: LayerEntry): void {
    const { inodes, names } = this.#tree;
    const parent = this.#parent(path, entry);
    const name = names.find(parent, text);
    if (entry.type === 'directory' && name > 0 && inodes.isDirectory(names.inode(name))) {
      inodes.setAttributes(names.inode(name), keptAttributes(entry));
      names.touch(name, this.#layer);
    } else this.#replace(parent, text, this.#newInode(entry));
  }

  /**
   * In umoci's order: the link's directory is made and what it replaces is removed, and only then is the target looked up. A target that
   * is a symlink is not followed.
   */
  #link(path: string, name: string, entry: LayerEntry): void {
    const parent = this.#parent(path, entry);
    this.#tree.remove(this.#tree.names.find(parent, name));
    // What was removed may have been part of the last parent's path.
    this.#lastParentPath = undefined;

    const slash = entry.target.lastIndexOf('/');
    const directory = this.#found(this.#resolve(slash < 0 ? '' : entry.target.slice(0, slash), entry));
    const target = directory === undefined ? undefined : this.#tree.child(directory, entry.target.slice(slash + 1));
    if (target === undefined) throw corrupt(entry, `is a hard link to ${quote(entry.target)}, which is not there`);
    if (this.#tree.inodes.isDirectory(target))
      throw corrupt(entry, `is a hard link to the directory ${quote(entry.target)}`);
    this.#replace(parent, name, target);
  }

  #replace(parent: Inode, name: string, inode: Inode): void {
    // Either may be part of the last parent's path.
    if (this.#tree.names.find(parent, name) > 0 || this.#tree.inodes.type(inode) === 'symlink')
      this.#lastParentPath = undefined;
    this.#tree.put(parent, name, inode, this.#layer);
  }

  /**
   * An entry's directory, created where it is missing; it and its parents count as stated by this layer. Anything else in its place is
   * replaced, as if the layer stated the directory: as in umoci from 0.5 on, and in Docker and containerd on overlayfs.
   */
  #parent(path: string, entry: LayerEntry): Inode {
    if (path === this.#lastParentPath) return this.#lastParent;
    let directory = this.#tree.root;
    for (const { name, inode } of this.#resolve(path, entry)) {
      if (inode !== undefined && this.#tree.inodes.isDirectory(inode)) {
        this.#tree.names.touch(this.#tree.names.find(directory, name), this.#layer);
        directory = inode;
      } else {
        const made = this.#tree.newDirectory();
        this.#tree.put(directory, name, made, this.#layer);
        directory = made;
      }
    }
    this.#lastParentPath = path;
    this.#lastParent = directory;
    return directory;
  }

  /** The directory at the end of a resolved path, if there is one. */
  #found(steps: readonly Step[]): Inode | undefined {
    const last = steps.at(-1);
    if (last === undefined) return this.#tree.root;
    return last.inode !== undefined && this.#tree.inodes.isDirectory(last.inode) ? last.inode : undefined;
  }

  /**
   * Resolves the path of a directory, following symlinks within the root. Below something that does not exist, or is not a directory,
   * components are taken as written, and `..` removes the last one.
   */
  #resolve(path: string, entry: LayerEntry): Step[] {
    const pending = path === '' ? [] : path.split('/').reverse();
    const steps: Step[] = [];
    let symlinks = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        steps.pop();
        continue;
      }
      if (name.length > MAX_NAME) throw corrupt(entry, 'lies below a name of more than 255 bytes');
      const last = steps.at(-1);
      const directory = last === undefined ? this.#tree.root : last.inode;
      const inode = directory === undefined ? undefined : this.#tree.child(directory, name);
      if (inode === undefined || this.#tree.inodes.type(inode) !== 'symlink') {
        steps.push({ name, inode });
        continue;
      }
      if (++symlinks > MAX_SYMLINKS) throw corrupt(entry, 'lies below a loop of symlinks');
      const target = this.#tree.inodes.target(inode);
      if (target.startsWith('/')) steps.length = 0;
      const parts = target.split('/').reverse();
      this.#symlinks.namesLeft -= parts.length;
      if (this.#symlinks.namesLeft < 0) throw symlinksTooLong(entry);
      for (const part of parts) pending.push(part);
    }
    return steps;
  }

  #newInode(entry: LayerEntry): Inode {
    const { type } = entry;
    if (type === 'link') throw new RootfsError('internal', 'a hard link has no inode of its own');
    if (type === 'symlink') checkTarget(entry);
    if (entry.size > MAX_FILE) throw corrupt(entry, `is a file of ${entry.size} bytes; ext4 holds up to ${MAX_FILE}`);
    return this.#tree.inodes.add(type, keptAttributes(entry), this.#layer, entry);
  }
}

function checkTarget(entry: LayerEntry): void {
  if (entry.target === '') throw corrupt(entry, 'is a symlink to nothing');
  if (entry.target.includes('\0')) throw corrupt(entry, 'is a symlink with a NUL byte in its target');
  if (entry.target.length > MAX_TARGET)
    throw corrupt(entry, `is a symlink with a target of ${entry.target.length} bytes; ${MAX_TARGET} is the limit`);
}

function symlinksTooLong(entry: LayerEntry): RootfsError {
  return new RootfsError(
    'layer_too_large',
    `the layer's entry ${quote(entry.path)} and those before it lie below too many, or too long, symlinks: the layer looks made to waste time`,
  );
}

function corrupt(entry: LayerEntry, what: string): RootfsError {
  return new RootfsError('layer_corrupt', `the layer's entry ${quote(entry.path)} ${what}`);
}
