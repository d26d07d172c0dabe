import { contentDigest } from './content.ts';
import type { ListedNode } from './listing.ts';
import { type Bytes, bytesOf, contentSize, type TarEntry } from './tar-entry.ts';

/**
 * What a stack of layers means, said as simply as can be and without regard to speed: entries are applied in the order
 * of the tar to a tree in memory, as umoci applies them to a directory. It shares nothing with the code that it judges.
 *
 * The rules, from the OCI image specification ("Image Layer Filesystem Changeset") and, where that is silent, from what
 * umoci does (oci/layer/tar_extract.go, the unpacker by the specification's own maintainers):
 *
 *  1. A path is cleaned by its text alone: `.`, empty components and a leading or trailing `/` fall away, `..` takes the
 *     component before it. umoci holds `..` at the root; this project refuses a path that climbs out.
 *  2. All of a path but its last component is resolved in the tree as it then is, following symlinks within the root: an
 *     absolute target starts at the root, `..` stops there. What does not exist (or is no directory) is taken as it is
 *     written. Over 255 symlinks are an error. The last component is never followed.
 *  3. Missing parents become directories 0755, root:root, without attributes; the specification gives
 *     them no time, and this project the epoch (umoci: the time of unpacking), so that an image is the same each time. A parent that is not
 *     a directory gives way to one (umoci from 0.5 on; before, it was an error). Other directories keep their times when something in them is added or removed.
 *  4. An entry for the root must be a directory and sets the root's attributes.
 *  5. A directory entry on a directory replaces its attributes (extended ones too) and keeps its children. Any other entry on
 *     anything removes what is there, with all below it, also when the same layer put it there: the last one wins. A directory
 *     entry on a symlink to a directory replaces the symlink.
 *  6. A hard link first removes what is at its own path, then finds its target: directories as in rule 2, the last component not
 *     followed, so that it can link to a symlink itself. It shares the target's inode whichever layer made that; its own
 *     attributes mean nothing. A missing target, or a directory, is an error. Names made earlier live on when another
 *     name of the file is replaced or deleted.
 *  7. `.wh.NAME` of whatever type removes NAME, and `.wh..wh..opq` all children of its directory (resolved as in rule 2), but only
 *     what this layer has not touched: what an entry of this layer made or updated, and the directories on the way to it, stay, with
 *     the attributes that they have; the search goes on below those. So both hide lower layers only, wherever they stand in their
 *     layer. Neither makes parents, nor minds that nothing is there.
 *  8. Permission bits and setuid, setgid, sticky as stated; a symlink has 0777.
 *  9. An extended attribute may have an empty value. Those are not set that only mean something on the host that made them: SELinux
 *     labels, NFSv4 ACLs and overlayfs's notes to itself.
 * 10. A POSIX access ACL is set after the mode, so the kernel changes that with it: the owner's bits, those of the mask or without one
 *     the group's, and those of others. One that has nothing else is gone then.
 */

const hostAttributes = new Set([
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

/** The layers mean nothing by the rules, or this project refuses them: the entry at fault is named. */
export class ModelError extends Error {
  override readonly name = 'ModelError';
}

interface Inode {
  readonly type: ListedNode['type'];
  mode: number;
  uid: number;
  gid: number;
  mtime: bigint | undefined;
  size: number;
  digest: string;
  target: string;
  deviceMajor: number;
  deviceMinor: number;
  xattrs: ReadonlyMap<string, string>;
  readonly children: Map<string, Inode>;
  /** For each child's name, the last layer with an entry for it or for something below it. */
  readonly touchedBy: Map<string, number>;
}

export interface ModelOptions {
  /** Time of the root and of parents that no entry states, in nanoseconds since 1970; undefined: the model does not say. */
  readonly unstatedMtime?: bigint;
  /** An entry below what is no directory is an error, as for umoci before 0.5. */
  readonly refusesBelowFiles?: true;
}

/** The tree that layers, lowest first, make. @throws ModelError */
export function modelTree(layers: readonly (readonly TarEntry[])[], options: ModelOptions = {}): ListedNode {
  const model = new OciModel(options);
  for (const layer of layers) {
    model.beginLayer();
    for (const entry of layer) model.apply(entry);
  }
  return model.root;
}

/** The layers without those entries that mean nothing, or something to some versions of umoci only, so that any random stack becomes a valid one. */
export function validEntries<Entry extends TarEntry>(layers: readonly (readonly Entry[])[]): Entry[][] {
  const model = new OciModel({ refusesBelowFiles: true });
  return layers.map((layer) => {
    model.beginLayer();
    return layer.filter((entry) => {
      try {
        model.apply(entry);
        return true;
      } catch (error) {
        if (error instanceof ModelError) return false;
        throw error;
      }
    });
  });
}

class OciModel {
  readonly root: Inode;
  private layer = 0;
  private readonly unstatedMtime: bigint | undefined;
  private readonly refusesBelowFiles: boolean;

  constructor(options: ModelOptions) {
    this.unstatedMtime = options.unstatedMtime;
    this.refusesBelowFiles = options.refusesBelowFiles ?? false;
    this.root = this.unstatedDirectory();
  }

  beginLayer(): void {
    this.layer += 1;
  }

  /** Applies one entry, or throws; where it refuses entries below files, it then leaves the tree as it was. */
  apply(entry: TarEntry): void {
    const path = clean(entry.path);
    const name = path.at(-1);
    if (name === undefined) {
      if (entry.type !== 'directory') throw new ModelError('the root is a directory');
      update(this.root, entry);
      return;
    }
    const directory = this.resolve(path.slice(0, -1));
    if (name.startsWith('.wh.')) {
      this.whiteOut(directory, name);
      return;
    }
    if (this.refusesBelowFiles) this.checkParents(directory);
    if (entry.type === 'link') this.link(directory, name, clean(entry.target ?? ''));
    else this.put(directory, name, entry);
  }

  private put(directory: readonly string[], name: string, entry: TarEntry): void {
    const parent = this.makeDirectories(directory);
    const present = parent.children.get(name);
    const inode = present?.type === 'directory' && entry.type === 'directory' ? present : emptyInode(entry);
    update(inode, entry);
    parent.children.set(name, inode);
    this.touch([...directory, name]);
  }

  private link(directory: readonly string[], name: string, target: readonly string[]): void {
    // Rule 3: a link may lie below its own target, which is a directory then.
    if (!this.refusesBelowFiles) this.makeDirectories(directory);
    const present = this.find(directory)?.children.get(name);
    const targetName = target.at(-1);
    if (targetName === undefined) throw new ModelError('a hard link to the root');

    // Rule 6: the link's own path is removed before the target is looked for.
    this.find(directory)?.children.delete(name);
    try {
      const made = this.find(this.resolve(target.slice(0, -1)))?.children.get(targetName);
      if (made === undefined) throw new ModelError(`a hard link to ${target.join('/')}, which is not there`);
      if (made.type === 'directory') throw new ModelError(`a hard link to the directory ${target.join('/')}`);
      this.makeDirectories(directory).children.set(name, made);
    } catch (error) {
      if (present !== undefined) this.find(directory)?.children.set(name, present);
      throw error;
    }
    this.touch([...directory, name]);
  }

  private whiteOut(directory: readonly string[], name: string): void {
    const parent = this.find(directory);
    if (parent === undefined) return;
    if (name === '.wh..wh..opq') {
      this.removeUntouched(parent);
      return;
    }
    const hidden = name.slice('.wh.'.length);
    if (hidden === '' || hidden === '.' || hidden === '..') throw new ModelError(`the whiteout ${name} names nothing`);
    const present = parent.children.get(hidden);
    if (present === undefined) return;
    if (parent.touchedBy.get(hidden) === this.layer) this.removeUntouched(present);
    else parent.children.delete(hidden);
  }

  private removeUntouched(directory: Inode): void {
    for (const [name, child] of directory.children) {
      if (directory.touchedBy.get(name) === this.layer) this.removeUntouched(child);
      else directory.children.delete(name);
    }
  }

  /** Rule 2: a cleaned path with its symlinks followed, as components from the root. */
  private resolve(path: readonly string[]): string[] {
    const todo = [...path].reverse();
    const done: string[] = [];
    /** The inode of the root and of each prefix of `done`; undefined where there is none. */
    const inodes: (Inode | undefined)[] = [this.root];
    const goUp = (to: number) => {
      done.length = to;
      inodes.length = to + 1;
    };
    let followed = 0;
    for (let component = todo.pop(); component !== undefined; component = todo.pop()) {
      if (component === '' || component === '.') continue;
      if (component.length > 255) throw new ModelError('a symlink with a name over 255 bytes in its target');
      if (component === '..') {
        goUp(Math.max(0, done.length - 1));
        continue;
      }
      const inode = inodes.at(-1)?.children.get(component);
      if (inode?.type !== 'symlink') {
        done.push(component);
        inodes.push(inode);
        continue;
      }
      followed += 1;
      if (followed > 255) throw new ModelError(`too many symlinks on the way to ${path.join('/')}`);
      if (inode.target.startsWith('/')) goUp(0);
      todo.push(...inode.target.split('/').reverse());
    }
    return done;
  }

  private find(path: readonly string[]): Inode | undefined {
    let inode: Inode | undefined = this.root;
    for (const component of path) inode = inode?.children.get(component);
    return inode;
  }

  private checkParents(path: readonly string[]): void {
    let inode: Inode | undefined = this.root;
    for (const component of path) {
      inode = inode?.children.get(component);
      if (inode !== undefined && inode.type !== 'directory')
        throw new ModelError(`${path.join('/')} is not a directory`);
    }
  }

  private makeDirectories(path: readonly string[]): Inode {
    let inode = this.root;
    for (const component of path) {
      const present = inode.children.get(component);
      const child = present?.type === 'directory' ? present : this.unstatedDirectory();
      inode.children.set(component, child);
      inode = child;
    }
    return inode;
  }

  private touch(path: readonly string[]): void {
    let inode: Inode | undefined = this.root;
    for (const component of path) {
      inode?.touchedBy.set(component, this.layer);
      inode = inode?.children.get(component);
    }
  }

  private unstatedDirectory(): Inode {
    const inode = emptyInode({ path: '', type: 'directory' });
    update(inode, { path: '', type: 'directory' });
    inode.mtime = this.unstatedMtime;
    return inode;
  }
}

/** Rule 1: the components of a path. */
function clean(path: Bytes): string[] {
  const components: string[] = [];
  for (const component of bytesOf(path).toString('latin1').split('/')) {
    if (component === '' || component === '.') continue;
    if (component !== '..') components.push(component);
    else if (components.pop() === undefined) throw new ModelError('the path climbs out of the root');
  }
  const last = components.at(-1)?.replace(/^\.wh\./, '') ?? '';
  if ([...components.slice(0, -1), last].some((name) => name.length > 255))
    throw new ModelError('a name over 255 bytes');
  return components;
}

function emptyInode(entry: TarEntry): Inode {
  if (entry.type === 'link') throw new Error('a hard link has no inode of its own');
  const { digest } = entry.type === 'file' ? contentDigest(entry.content) : { digest: '' };
  return {
    type: entry.type,
    mode: 0,
    uid: 0,
    gid: 0,
    mtime: 0n,
    size: entry.type === 'file' ? contentSize(entry.content) : 0,
    digest,
    target: entry.type === 'symlink' ? bytesOf(entry.target ?? '').toString('latin1') : '',
    deviceMajor: 0,
    deviceMinor: 0,
    xattrs: new Map(),
    children: new Map(),
    touchedBy: new Map(),
  };
}

function update(inode: Inode, entry: TarEntry): void {
  const device = entry.type === 'character-device' || entry.type === 'block-device';
  inode.mode = entry.type === 'symlink' ? 0o777 : (entry.mode ?? (entry.type === 'directory' ? 0o755 : 0o644));
  inode.uid = entry.uid ?? 0;
  inode.gid = entry.gid ?? 0;
  inode.mtime = entry.mtime ?? 0n;
  inode.deviceMajor = device ? (entry.deviceMajor ?? 0) : 0;
  inode.deviceMinor = device ? (entry.deviceMinor ?? 0) : 0;
  inode.xattrs = new Map(
    (entry.xattrs ?? [])
      .filter(([name]) => !hostAttributes.has(name))
      .map(([name, value]) => [name, value.toString('hex')]),
  );
  applyAccessAcl(inode);
}

/** Rule 10. Eight bytes an entry after four: what it is for, in hex the digits 0 and 1; its permissions, the digit 5. */
function applyAccessAcl(inode: Inode): void {
  const name = 'system.posix_acl_access';
  const acl = inode.xattrs.get(name);
  if (acl === undefined) return;
  const permissions = new Map((acl.slice(8).match(/.{16}/g) ?? []).map((part) => [part.slice(0, 2), Number(part[5])]));
  const bits = ['01', permissions.has('10') ? '10' : '04', '20'].map((tag) => permissions.get(tag));
  inode.mode = (inode.mode & 0o7000) | Number.parseInt(bits.join(''), 8);
  if (permissions.size === 3) inode.xattrs = new Map([...inode.xattrs].filter(([other]) => other !== name));
}
