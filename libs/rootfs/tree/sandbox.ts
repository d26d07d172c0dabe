import type { Tree } from './tree.ts';

/** Where a sandbox's kernel and init mount things, with the modes that file-hierarchy(7) gives them. */
const MOUNT_POINTS: readonly (readonly [name: string, mode: number])[] = [
  ['proc', 0o555],
  ['sys', 0o555],
  ['dev', 0o755],
  ['run', 0o755],
  ['tmp', 0o1777],
];

/** Adds the mount points that the image lacks. Whatever exists by that name, such as a symlink, is left as it is. */
export function addMountPoints(tree: Tree): void {
  for (const [name, mode] of MOUNT_POINTS) {
    if (tree.child(tree.root, name) === undefined) tree.put(tree.root, name, tree.newDirectory(mode), 0);
  }
}

/** What a user should know before booting this tree; none of it is an error. */
export function bootWarnings(tree: Tree): string[] {
  const warnings: string[] = [];
  if (!leadsSomewhere(tree, ['bin', 'sh']))
    warnings.push('the image has no /bin/sh: commands that need a shell will fail');
  if (
    leadsSomewhere(tree, ['lib', 'systemd', 'systemd']) ||
    leadsSomewhere(tree, ['usr', 'lib', 'systemd', 'systemd'])
  ) {
    warnings.push('the image has systemd, which expects to be the init of the sandbox');
  }
  return warnings;
}

/** Most symlinks that Linux follows in one path (path_resolution(7)). */
const MAX_SYMLINKS = 40;

/**
 * Whether a path exists. A symlink at its end counts; one on the way is followed where its target is absolute or it is in the root
 * directory, and otherwise counts too.
 */
function leadsSomewhere(tree: Tree, path: readonly string[], symlinks = 0): boolean {
  if (symlinks > MAX_SYMLINKS) return false;
  let directory = tree.root;
  for (const [depth, name] of path.entries()) {
    const child = tree.child(directory, name);
    if (child === undefined) return false;
    if (depth === path.length - 1) return true;
    if (tree.inodes.type(child) === 'symlink') {
      const target = tree.inodes.target(child);
      const steps = target.split('/').filter((part) => part !== '' && part !== '.');
      if (target.startsWith('/') || directory === tree.root)
        return leadsSomewhere(tree, [...steps, ...path.slice(depth + 1)], symlinks + 1);
      return true;
    }
    if (!tree.inodes.isDirectory(child)) return false;
    directory = child;
  }
  return true;
}
