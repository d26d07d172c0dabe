import { type Directory, isDirectory, newDirectory } from './inode.ts';

/** Where a sandbox's kernel and init mount things, with the modes that file-hierarchy(7) gives them. */
const MOUNT_POINTS: readonly (readonly [name: string, mode: number])[] = [
  ['proc', 0o555],
  ['sys', 0o555],
  ['dev', 0o755],
  ['run', 0o755],
  ['tmp', 0o1777],
];

/** Adds the mount points that the image lacks. What is there, a symlink say, is left as it is. */
export function addMountPoints(root: Directory): void {
  for (const [name, mode] of MOUNT_POINTS) {
    if (!root.children.has(name)) root.children.set(name, newDirectory(mode));
  }
}

/** What a user should know before booting this tree; none of it is an error. */
export function bootWarnings(root: Directory): string[] {
  const warnings: string[] = [];
  if (!leadsSomewhere(root, ['bin', 'sh']))
    warnings.push('the image has no /bin/sh: commands that need a shell will fail');
  if (
    leadsSomewhere(root, ['lib', 'systemd', 'systemd']) ||
    leadsSomewhere(root, ['usr', 'lib', 'systemd', 'systemd'])
  ) {
    warnings.push('the image has systemd, which expects to be the init of the sandbox');
  }
  return warnings;
}

/** Whether a path is there; a symlink on the way or at its end counts as there when its target's first step is. */
function leadsSomewhere(root: Directory, path: readonly string[]): boolean {
  let directory = root;
  for (const [depth, name] of path.entries()) {
    const child = directory.children.get(name);
    if (child === undefined) return false;
    if (depth === path.length - 1) return true;
    if (child.type === 'symlink') {
      const target = child.target.split('/').filter((part) => part !== '' && part !== '.');
      if (child.target.startsWith('/') || directory === root)
        return leadsSomewhere(root, [...target, ...path.slice(depth + 1)]);
      return true;
    }
    if (!isDirectory(child)) return false;
    directory = child;
  }
  return true;
}
