import type { Inode } from './inode-table.ts';
import type { Tree } from './tree.ts';

/** Most symlinks that Linux follows in one path (path_resolution(7)). */
const MAX_SYMLINKS = 40;

/** The inode that a path leads to in a system whose root this is, symlinks followed (path_resolution(7)); undefined if it leads nowhere. */
export function lookUp(tree: Tree, path: string): Inode | undefined {
  /** From the root to where the path has led so far. */
  const steps = [tree.root];
  let here = tree.root;
  let symlinks = 0;
  const pending = path.split('/').reverse();
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (!tree.inodes.isDirectory(here)) return undefined;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (steps.length > 1) steps.pop();
    } else {
      const inode = tree.child(here, name);
      if (inode === undefined) return undefined;
      if (tree.inodes.type(inode) === 'symlink') {
        if (++symlinks > MAX_SYMLINKS) return undefined;
        const target = tree.inodes.target(inode);
        if (target.startsWith('/')) steps.length = 1;
        for (const part of target.split('/').reverse()) pending.push(part);
      } else {
        steps.push(inode);
      }
    }
    here = steps.at(-1) ?? tree.root;
  }
  return here;
}
