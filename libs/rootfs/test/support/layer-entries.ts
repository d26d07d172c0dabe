import type { LayerEntry } from '../../layer/entry.ts';
import { normalizePath } from '../../layer/path.ts';
import type { Inode } from '../../tree/inode.ts';
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
      .filter(([, value]) => value.length > 0)
      .map(([name, value]): [string, string] => [name, value.toString('latin1')])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}

/** A merged tree as a listing, to compare it with the model's; contents have no digests. */
export function listingOf(root: Inode): ListedNode {
  const nodes = new Map<Inode, ListedNode>();
  const list = (inode: Inode): ListedNode => {
    const known = nodes.get(inode);
    if (known !== undefined) return known;
    const node: ListedNode = {
      type: inode.type,
      mode: inode.mode,
      uid: inode.uid,
      gid: inode.gid,
      mtime: BigInt(inode.mtimeSeconds) * SECOND + BigInt(inode.mtimeNanoseconds),
      size: inode.size,
      digest: '',
      target: inode.target,
      deviceMajor: inode.deviceMajor,
      deviceMinor: inode.deviceMinor,
      xattrs: new Map(inode.xattrs.map(([name, value]) => [name, Buffer.from(value, 'latin1').toString('hex')])),
      children: new Map([...(inode.children ?? [])].map(([name, child]) => [name, list(child)])),
    };
    nodes.set(inode, node);
    return node;
  };
  return list(root);
}

/** How many names lead to each inode of a tree. */
export function namesInTree(root: Inode): Map<Inode, number> {
  const names = new Map<Inode, number>([[root, 1]]);
  const pending = [root];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const child of next.children?.values() ?? []) {
      names.set(child, (names.get(child) ?? 0) + 1);
      if (child.children !== undefined) pending.push(child);
    }
  }
  return names;
}
