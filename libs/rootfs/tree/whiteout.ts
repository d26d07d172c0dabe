import { type Directory, type Inode, isDirectory } from './inode.ts';

const PREFIX = '.wh.';
const OPAQUE = '.wh..wh..opq';

/** What an entry's name says of lower layers, by the OCI image specification, "Whiteouts". */
export type Whiteout = { readonly kind: 'opaque' } | { readonly kind: 'name'; readonly hidden: string } | undefined;

export function whiteout(name: string): Whiteout {
  if (name === OPAQUE) return { kind: 'opaque' };
  if (name.startsWith(PREFIX)) return { kind: 'name', hidden: name.slice(PREFIX.length) };
  return undefined;
}

/** Hides a name of lower layers. What the layer itself put there or below stays, wherever the whiteout stands in it. */
export function hideName(directory: Directory, name: string, layer: number): void {
  const child = directory.children.get(name);
  if (child === undefined) return;
  if (child.touched < layer) removeName(directory, name);
  else if (isDirectory(child)) hideChildren(child, layer);
}

/** Hides all that lower layers put into a directory. */
export function hideChildren(directory: Directory, layer: number): void {
  for (const name of [...directory.children.keys()]) hideName(directory, name, layer);
}

/** Takes a name, and what is below it, out of the tree. */
export function removeName(directory: Directory, name: string): void {
  const child = directory.children.get(name);
  if (child === undefined) return;
  directory.children.delete(name);
  release(child);
}

function release(inode: Inode): void {
  const pending = [inode];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    next.names--;
    if (next.children !== undefined) pending.push(...next.children.values());
  }
}
