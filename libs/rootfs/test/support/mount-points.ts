import type { ListedNode } from './listing.ts';
import type { MountedNode } from './mounted.ts';

/** The tree without the empty directories at its root that a sandbox mounts on and that no layer states. */
export function withoutAddedMountPoints(root: MountedNode, stated: ListedNode): MountedNode {
  for (const name of ['proc', 'sys', 'dev', 'run', 'tmp']) {
    const node = root.children.get(name);
    if (node?.type === 'directory' && node.children.size === 0 && !stated.children.has(name))
      root.children.delete(name);
  }
  return root;
}
