import type { Tree } from '../tree/tree.ts';

/** Its name in the root directory. */
export const LOST_AND_FOUND = 'lost+found';

/**
 * Adds `/lost+found`, in which e2fsck reconnects files, unless the image has that directory. Anything else of that name is replaced,
 * since e2fsck requires it; then this returns false.
 */
export function ensureLostAndFound(tree: Tree): boolean {
  const name = tree.names.find(tree.root, LOST_AND_FOUND);
  if (name > 0 && tree.inodes.isDirectory(tree.names.inode(name))) return true;
  if (name > 0) tree.redirect(name, tree.newDirectory(0o700));
  else tree.put(tree.root, LOST_AND_FOUND, tree.newDirectory(0o700), 0);
  return name === 0;
}
