import type { LayerEntry } from '../../layer/entry.ts';
import { normalizePath } from '../../layer/path.ts';
import type { Inode } from '../../tree/inode-table.ts';
import type { Tree } from '../../tree/tree.ts';
import type { ListedNode } from './listing.ts';
import { bytesOf, contentSize, type TarEntry } from './tar-entry.ts';

const SECOND = 1_000_000_000n;

/** The entry as a layer's index has it, without its content's place in the data file. */
export function layerEntry(entry: TarEntry): LayerEntry {
  const text = (value: TarEntry['path']) => bytesOf(value).toString('latin1');
  const mtime = entry.mtime ?? 0n;
  const nanoseconds = ((mtime % SECOND) + SECOND) % SECOND;
  const target = text(entry.target ?? '');
  return {
    type: entry.type,
    path: normalizePath(text(entry.path)),
    mode: entry.mode ?? (entry.type === 'directory' ? 0o755 : 0o644),
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    mtimeSeconds: Number((mtime - nanoseconds) / SECOND),
    mtimeNanoseconds: Number(nanoseconds),
    size: entry.type === 'file' ? contentSize(entry.content) : 0,
    runs: [],
    target: entry.type === 'link' ? normalizePath(target) : entry.type === 'symlink' ? target : '',
    deviceMajor: entry.deviceMajor ?? 0,
    deviceMinor: entry.deviceMinor ?? 0,
    xattrs: (entry.xattrs ?? [])
      .map(([name, value]): [string, string] => [name, value.toString('latin1')])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}

/** An entry for each of the paths, which differ in nothing else: to make each of an entry of a tar takes longer than to merge it. */
export function entriesAt(paths: Iterable<string>, entry: TarEntry): LayerEntry[] {
  const alike = layerEntry(entry);
  return Array.from(paths, (path) => ({ ...alike, path }));
}

/** Paths of so many names in a directory. */
export function* pathsIn(directory: string, count: number): Generator<string> {
  for (let number = 0; number < count; number++) yield `${directory}/${number}`;
}

/** The tree as a listing, without its files' content. */
export function listingOf(tree: Tree): ListedNode {
  const nodes = new Map<Inode, ListedNode>();
  const list = (inode: Inode): ListedNode => {
    const known = nodes.get(inode);
    if (known !== undefined) return known;
    const { inodes, names } = tree;
    const node: ListedNode = {
      type: inodes.type(inode),
      mode: inodes.mode(inode),
      uid: inodes.uid(inode),
      gid: inodes.gid(inode),
      mtime: BigInt(inodes.mtimeSeconds(inode)) * SECOND + BigInt(inodes.mtimeNanoseconds(inode)),
      size: inodes.size(inode),
      digest: '',
      target: inodes.target(inode),
      deviceMajor: inodes.deviceMajor(inode),
      deviceMinor: inodes.deviceMinor(inode),
      xattrs: new Map(
        inodes.xattrs(inode).map(([name, value]) => [name, Buffer.from(value, 'latin1').toString('hex')]),
      ),
      children: new Map([...tree.namesIn(inode)].map((name) => [names.text(name), list(names.inode(name))])),
    };
    nodes.set(inode, node);
    return node;
  };
  return list(tree.root);
}

/** How many names lead to each inode of a tree. */
export function namesInTree(tree: Tree): Map<Inode, number> {
  const counts = new Map<Inode, number>([[tree.root, 1]]);
  const pending = [tree.root];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const name of tree.namesIn(next)) {
      const child = tree.names.inode(name);
      counts.set(child, (counts.get(child) ?? 0) + 1);
      if (tree.inodes.isDirectory(child)) pending.push(child);
    }
  }
  return counts;
}
