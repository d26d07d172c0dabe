import type { EntryType } from './tar-entry.ts';

/**
 * A tree of files as a kernel shows it, or as a model says it must be. Names and targets are byte strings: one
 * character (U+0000 to U+00FF) a byte. Two names of one file hold the same object.
 */
export interface ListedNode {
  readonly type: Exclude<EntryType, 'link'> | 'socket';
  /** Permission bits with setuid, setgid and sticky (07777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since 1970; undefined in a model that does not say. */
  readonly mtime: bigint | undefined;
  /** Bytes of a regular file; 0 for the rest. */
  readonly size: number;
  /** `contentDigest` of a regular file; '' for the rest. */
  readonly digest: string;
  /** Target of a symlink; '' for the rest. */
  readonly target: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Values in hex by the attribute's full name. */
  readonly xattrs: ReadonlyMap<string, string>;
  readonly children: ReadonlyMap<string, ListedNode>;
}

const compared = [
  'mode',
  'uid',
  'gid',
  'mtime',
  'size',
  'digest',
  'target',
  'deviceMajor',
  'deviceMinor',
] as const satisfies readonly (keyof ListedNode)[];

export interface DifferenceOptions {
  /** Whether the time of this node of the actual tree says nothing. */
  readonly ignoreTime?: (actual: ListedNode) => boolean;
}

/**
 * Every way in which a tree is not what it must be, a line each; the empty list means the same in every attribute and
 * in which names share a file.
 */
export function differences(actual: ListedNode, expected: ListedNode, options: DifferenceOptions = {}): string[] {
  const found: string[] = [];
  const actualOf = new Map<ListedNode, ListedNode>();
  const expectedOf = new Map<ListedNode, ListedNode>();
  const firstPath = new Map<ListedNode, string>();
  const todo: [path: string, actual: ListedNode, expected: ListedNode][] = [['', actual, expected]];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const [path, got, want] = next;
    const say = (text: string) => found.push(`${quotePath(path)}: ${text}`);
    if ((actualOf.get(want) ?? got) !== got)
      say(`is not the same file as ${quotePath(firstPath.get(want) ?? '')}, and should be`);
    if ((expectedOf.get(got) ?? want) !== want)
      say(`is the same file as ${quotePath(firstPath.get(got) ?? '')}, and should not be`);
    actualOf.set(want, got);
    expectedOf.set(got, want);
    if (!firstPath.has(want)) firstPath.set(want, path);
    if (!firstPath.has(got)) firstPath.set(got, path);

    if (got.type !== want.type) {
      say(`is a ${got.type}, should be a ${want.type}`);
      continue;
    }
    for (const attribute of compared) {
      if (attribute === 'mtime' && (want.mtime === undefined || options.ignoreTime?.(got))) continue;
      if (got[attribute] !== want[attribute]) {
        say(`${attribute} is ${show(attribute, got)}, should be ${show(attribute, want)}`);
      }
    }
    for (const name of new Set([...got.xattrs.keys(), ...want.xattrs.keys()])) {
      const [value, wanted] = [got.xattrs.get(name), want.xattrs.get(name)];
      if (value !== wanted) say(`xattr ${name} is ${value ?? 'missing'}, should be ${wanted ?? 'missing'}`);
    }
    for (const [name, node] of got.children) {
      const wanted = want.children.get(name);
      if (wanted === undefined) found.push(`${quotePath(`${path}/${name}`)}: a ${node.type} that should not be there`);
      else todo.push([`${path}/${name}`, node, wanted]);
    }
    for (const [name, node] of want.children) {
      if (!got.children.has(name)) found.push(`${quotePath(`${path}/${name}`)}: missing, should be a ${node.type}`);
    }
  }
  return found;
}

function show(attribute: (typeof compared)[number], node: ListedNode): string {
  const value = node[attribute];
  if (attribute === 'mode') return `0${node.mode.toString(8)}`;
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/** A path of bytes as text: printable ASCII as it is, other bytes as `\xNN`; a long one without its middle. */
function quotePath(path: string): string {
  const short = path.length <= 300 ? path : `${path.slice(0, 140)}…(${path.length} bytes)…${path.slice(-140)}`;
  const escaped = short.replaceAll(/[^ -~…]|\\/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return escaped === '' ? '/' : escaped;
}

/** How many names the tree holds, the root not counted. */
export function countNames(root: ListedNode): number {
  let count = 0;
  const todo = [root];
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    count += node.children.size;
    todo.push(...node.children.values());
  }
  return count;
}
