import type { Inode } from './inode-table.ts';
import type { Name } from './name-table.ts';
import type { Tree } from './tree.ts';

const PREFIX = '.wh.';
const OPAQUE = '.wh..wh..opq';

/** What an entry's name hides in lower layers (OCI image specification, "Whiteouts"). */
export type Whiteout = { readonly kind: 'opaque' } | { readonly kind: 'name'; readonly hidden: string } | undefined;

export function whiteout(name: string): Whiteout {
  if (name === OPAQUE) return { kind: 'opaque' };
  if (name.startsWith(PREFIX)) return { kind: 'name', hidden: name.slice(PREFIX.length) };
  return undefined;
}

/**
 * Hides a name of lower layers. A whiteout keeps what its own layer states, before or after it, and the directories above that: of a
 * directory that this layer states, only what it does not state below is removed. The name counts, not the inode, which a hard link of
 * this layer may share with a name of a lower one.
 *
 * @param cleared directories that now contain only names of this layer: none is walked twice, however often it is hidden
 */
export function hideName(tree: Tree, name: Name, layer: number, cleared: Set<Inode>): void {
  const pending = name === 0 ? [] : [name];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (tree.names.layer(next) !== layer) {
      tree.remove(next);
      continue;
    }
    const directory = tree.names.inode(next);
    if (cleared.has(directory) || !tree.inodes.isDirectory(directory)) continue;
    cleared.add(directory);
    // One by one: as arguments of one call, some 100,000 names would overflow the stack.
    for (const below of tree.namesIn(directory)) pending.push(below);
  }
}

/** Hides everything that lower layers put into a directory. */
export function hideChildren(tree: Tree, directory: Inode, layer: number, cleared: Set<Inode>): void {
  if (cleared.has(directory)) return;
  cleared.add(directory);
  for (const name of [...tree.namesIn(directory)]) hideName(tree, name, layer, cleared);
}
