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

/**
 * The names that a layer states, and those of the directories on the way to them: its whiteouts hide lower layers
 * only, so they leave these, wherever they stand in the layer. It is the name that counts, not the inode, which a hard
 * link of this layer may share with a name of a lower one.
 */
export class TouchedNames {
  readonly #names = new Map<Directory, Set<string>>();

  add(directory: Directory, name: string): void {
    const names = this.#names.get(directory);
    if (names === undefined) this.#names.set(directory, new Set([name]));
    else names.add(name);
  }

  has(directory: Directory, name: string): boolean {
    return this.#names.get(directory)?.has(name) ?? false;
  }
}

/** Hides a name of lower layers; of a directory that this layer touched, what it did not touch below. */
export function hideName(directory: Directory, name: string, touched: TouchedNames): void {
  const pending: [Directory, string][] = [[directory, name]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [parent, child] = next;
    const inode = parent.children.get(child);
    if (!touched.has(parent, child)) removeName(parent, child);
    else if (isDirectory(inode)) for (const below of inode.children.keys()) pending.push([inode, below]);
  }
}

/** Hides all that lower layers put into a directory. */
export function hideChildren(directory: Directory, touched: TouchedNames): void {
  for (const name of [...directory.children.keys()]) hideName(directory, name, touched);
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
    if (next.children === undefined) continue;
    for (const child of next.children.values()) pending.push(child);
  }
}
