import { lookUp } from './path-lookup.ts';
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
  if (lookUp(tree, '/bin/sh') === undefined) {
    warnings.push('the image has no /bin/sh: commands that need a shell will fail');
  }
  if (['/lib/systemd/systemd', '/usr/lib/systemd/systemd'].some((path) => lookUp(tree, path) !== undefined)) {
    warnings.push('the image has systemd, which expects to be the init of the sandbox');
  }
  return warnings;
}
