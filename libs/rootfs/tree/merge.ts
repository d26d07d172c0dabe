import { RootfsError } from '../error.ts';
import type { LayerEntry } from '../layer/entry.ts';
import { quote } from '../layer/path.ts';
import { type Directory, type Inode, isDirectory, newDirectory } from './inode.ts';
import { hideChildren, hideName, removeName, TouchedNames, whiteout } from './whiteout.ts';

/** As many symlinks as umoci follows in one path (filepath-securejoin). */
const MAX_SYMLINKS = 255;
const MAX_NAME = 255;
/** Bytes of a symlink's target that Linux takes: PATH_MAX less the NUL. */
const MAX_TARGET = 4095;
/** What an ext4 of 4 KiB blocks holds in one file: block numbers have 32 bits. */
const MAX_FILE = (2 ** 32 - 1) * 4096;
/** Linux gives every symlink these, whatever was asked for (symlink(2)). */
const SYMLINK_MODE = 0o777;

/** Attributes that mean something only on the host that wrote them: umoci sets none of them. */
const HOST_ATTRIBUTES = new Set([
  'security.selinux',
  'system.nfs4_acl',
  'trusted.overlay.impure',
  'trusted.overlay.metacopy',
  'trusted.overlay.nlink',
  'trusted.overlay.opaque',
  'trusted.overlay.origin',
  'trusted.overlay.redirect',
  'trusted.overlay.upper',
]);

/**
 * Merges layers, bottom first, into one tree by the rules of the OCI image specification, "Image Layer Filesystem
 * Changeset", as umoci applies them. Pure: it reads the entries and makes the tree.
 *
 * @throws RootfsError `layer_corrupt` for a hard link to what is not there, a name below a file, a loop of symlinks, a
 * whiteout or a symlink of nothing
 */
export function mergeLayers(layers: readonly Iterable<LayerEntry>[]): Directory {
  const root = newDirectory();
  layers.forEach((entries, layer) => {
    const merge = new LayerMerge(root, layer);
    for (const entry of entries) merge.apply(entry);
  });
  return root;
}

/** A name on the way to something, and what it leads to; undefined when it is not there. */
interface Step {
  readonly name: string;
  readonly inode: Inode | undefined;
}

class LayerMerge {
  readonly #root: Directory;
  readonly #layer: number;
  readonly #touched = new TouchedNames();
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
      if (entry.type !== 'directory') throw corrupt(entry, 'is the root, but not a directory');
      setAttributes(this.#root, entry);
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
    // The bottom layer has no lower ones.
    if (this.#layer === 0) return;
    this.#lastParentPath = undefined;
    const directory = this.#found(this.#resolve(path, entry));
    if (directory === undefined) return;
    if (hidden.kind === 'opaque') hideChildren(directory, this.#touched);
    else hideName(directory, hidden.hidden, this.#touched);
  }

  #put(path: string, name: string, entry: LayerEntry): void {
    const parent = this.#parent(path, entry);
    const existing = parent.children.get(name);
    this.#touch(parent, name);
    if (entry.type === 'directory' && isDirectory(existing)) setAttributes(existing, entry);
    else this.#replace(parent, name, newInode(entry, this.#layer));
  }

  /** As umoci does it: what is in the link's place goes first, then the target is looked for, and not followed when it is a symlink. */
  #link(path: string, name: string, entry: LayerEntry): void {
    const steps = this.#resolve(path, entry);
    for (const { inode } of steps) if (inode !== undefined && !isDirectory(inode)) throw belowFile(entry);
    const present = this.#found(steps);
    if (present !== undefined) removeName(present, name);

    const slash = entry.target.lastIndexOf('/');
    const directory = this.#found(this.#resolve(slash < 0 ? '' : entry.target.slice(0, slash), entry));
    const target = directory?.children.get(entry.target.slice(slash + 1));
    if (target === undefined) throw corrupt(entry, `is a hard link to ${quote(entry.target)}, which is not there`);
    if (isDirectory(target)) throw corrupt(entry, `is a hard link to the directory ${quote(entry.target)}`);
    this.#lastParentPath = undefined;
    const parent = this.#parent(path, entry);
    this.#touch(parent, name);
    target.names++;
    this.#replace(parent, name, target);
  }

  #replace(parent: Directory, name: string, inode: Inode): void {
    const replaces = parent.children.has(name);
    // Either may lie on the way to the last parent.
    if (replaces || inode.type === 'symlink') this.#lastParentPath = undefined;
    if (replaces) removeName(parent, name);
    parent.children.set(name, inode);
  }

  /** The directory of an entry, made where it is missing; it and those above it are touched by this layer. */
  #parent(path: string, entry: LayerEntry): Directory {
    if (path === this.#lastParentPath) return this.#lastParent;
    let directory = this.#root;
    for (const { name, inode = newDirectory() } of this.#resolve(path, entry)) {
      if (!isDirectory(inode)) throw belowFile(entry);
      directory.children.set(name, inode);
      this.#touch(directory, name);
      directory = inode;
    }
    this.#lastParentPath = path;
    this.#lastParent = directory;
    return directory;
  }

  #touch(directory: Directory, name: string): void {
    // What the bottom layer touches is never asked for.
    if (this.#layer > 0) this.#touched.add(directory, name);
  }

  /** The directory at the end of a way, if there is one. */
  #found(steps: readonly Step[]): Directory | undefined {
    const last = steps.at(-1);
    if (last === undefined) return this.#root;
    return isDirectory(last.inode) ? last.inode : undefined;
  }

  /**
   * The way from the root to a directory, symlinks followed within the root. What is not there, or is no directory, is
   * taken as it is written: `..` takes it away again.
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
      if (name.length > MAX_NAME) throw corrupt(entry, 'lies below a symlink with a name of more than 255 bytes');
      const last = steps.at(-1);
      const inode = (last === undefined ? this.#root : last.inode)?.children?.get(name);
      if (inode?.type !== 'symlink') {
        steps.push({ name, inode });
        continue;
      }
      if (++symlinks > MAX_SYMLINKS) throw corrupt(entry, 'lies below a loop of symlinks');
      if (inode.target.startsWith('/')) steps.length = 0;
      for (const part of inode.target.split('/').reverse()) pending.push(part);
    }
    return steps;
  }
}

function newInode(entry: LayerEntry, layer: number): Inode {
  if (entry.type === 'link') throw new RootfsError('internal', 'a hard link is no inode');
  if (entry.type === 'symlink') checkTarget(entry);
  if (entry.size > MAX_FILE) throw corrupt(entry, `is a file of ${entry.size} bytes; ext4 holds up to ${MAX_FILE}`);
  return {
    type: entry.type,
    mode: entry.type === 'symlink' ? SYMLINK_MODE : entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    xattrs: keptAttributes(entry),
    size: entry.size,
    runs: entry.runs,
    layer,
    target: entry.target,
    deviceMajor: entry.deviceMajor,
    deviceMinor: entry.deviceMinor,
    names: 1,
    children: entry.type === 'directory' ? new Map() : undefined,
  };
}

function checkTarget(entry: LayerEntry): void {
  if (entry.target === '') throw corrupt(entry, 'is a symlink to nothing');
  if (entry.target.includes('\0')) throw corrupt(entry, 'is a symlink with a NUL byte in its target');
  if (entry.target.length > MAX_TARGET)
    throw corrupt(entry, `is a symlink with a target of ${entry.target.length} bytes; ${MAX_TARGET} is the limit`);
}

function setAttributes(directory: Directory, entry: LayerEntry): void {
  directory.mode = entry.mode;
  directory.uid = entry.uid;
  directory.gid = entry.gid;
  directory.mtimeSeconds = entry.mtimeSeconds;
  directory.mtimeNanoseconds = entry.mtimeNanoseconds;
  directory.xattrs = keptAttributes(entry);
}

function keptAttributes({ xattrs }: LayerEntry): Inode['xattrs'] {
  return xattrs.some(([name]) => HOST_ATTRIBUTES.has(name))
    ? xattrs.filter(([name]) => !HOST_ATTRIBUTES.has(name))
    : xattrs;
}

function belowFile(entry: LayerEntry): RootfsError {
  return corrupt(entry, 'lies below something that is no directory');
}

function corrupt(entry: LayerEntry, what: string): RootfsError {
  return new RootfsError('layer_corrupt', `the layer's entry ${quote(entry.path)} ${what}`);
}
