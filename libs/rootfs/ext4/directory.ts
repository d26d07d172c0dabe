import { crc32c } from './crc32c.ts';
import { halfMd4 } from './directory-hash.ts';
import { BLOCK_SIZE } from './format.ts';

/** A name in a directory, the inode it leads to, and that inode's type code. */
export interface DirectoryEntry {
  readonly name: Buffer;
  readonly inode: number;
  readonly type: number;
}

/** How a directory's entries lie in its blocks. */
export interface DirectoryPlan {
  /** All blocks, those of the index included. */
  readonly blocks: number;
  readonly indexed: boolean;
  readonly leaves: readonly (readonly DirectoryEntry[])[];
  /** The hash from which on a leaf of an indexed directory has the names, its lowest bit set when the one before has some of that hash too. */
  readonly leafHashes: readonly number[];
  readonly hashSeed: HashSeed;
}

export type HashSeed = readonly [number, number, number, number];

/** A directory larger than this many blocks gets an index; smaller ones are as fast without. */
const MAX_LINEAR_BLOCKS = 2;

const TAIL = 12;
const LEAF_ROOM = BLOCK_SIZE - TAIL;
const DOTS = recordLength(1) + recordLength(2);
const TAIL_TYPE = 0xde;
const DIRECTORY_TYPE = 2;

const INDEX_ENTRY = 8;
const ROOT_ENTRIES_AT = 32;
const NODE_ENTRIES_AT = 8;
const INDEX_TAIL = 8;
const ROOT_LIMIT = (BLOCK_SIZE - ROOT_ENTRIES_AT - INDEX_TAIL) / INDEX_ENTRY;
const NODE_LIMIT = (BLOCK_SIZE - NODE_ENTRIES_AT - INDEX_TAIL) / INDEX_ENTRY;
const HALF_MD4 = 1;

/** Bytes of an entry with a name of so many bytes. */
function recordLength(nameLength: number): number {
  return Math.ceil((8 + nameLength) / 4) * 4;
}

/** Decides how the entries (without `.` and `..`) lie: in their order, or by hash with an index when they are many. */
export function planDirectory(entries: readonly DirectoryEntry[], hashSeed: HashSeed): DirectoryPlan {
  const linear = packLeaves(entries, DOTS);
  if (linear.length <= MAX_LINEAR_BLOCKS) {
    return { blocks: linear.length, indexed: false, leaves: linear, leafHashes: [], hashSeed };
  }
  const hashed = entries.map((entry) => ({ entry, hash: halfMd4(entry.name, hashSeed) }));
  hashed.sort((a, b) => a.hash - b.hash || a.entry.name.compare(b.entry.name));
  const leaves = packLeaves(
    hashed.map(({ entry }) => entry),
    0,
  );
  const leafHashes: number[] = [];
  let at = 0;
  for (const leaf of leaves) {
    const hash = hashed[at]?.hash ?? 0;
    leafHashes.push(at > 0 && hashed[at - 1]?.hash === hash ? hash | 1 : hash);
    at += leaf.length;
  }
  return { blocks: 1 + indexNodes(leaves.length) + leaves.length, indexed: true, leaves, leafHashes, hashSeed };
}

/** Blocks of a directory with names of these lengths, in their order, without an index; undefined when it gets one. */
export function linearBlocks(nameLengths: Iterable<number>): number | undefined {
  let blocks = 1;
  let room = LEAF_ROOM - DOTS;
  for (const nameLength of nameLengths) {
    const length = recordLength(nameLength);
    if (length > room) {
      blocks++;
      room = LEAF_ROOM;
    }
    room -= length;
    if (blocks > MAX_LINEAR_BLOCKS) return undefined;
  }
  return blocks;
}

/** Nodes between the root of an index and its leaves. */
function indexNodes(leaves: number): number {
  return leaves <= ROOT_LIMIT ? 0 : Math.ceil(leaves / NODE_LIMIT);
}

function packLeaves(entries: readonly DirectoryEntry[], used: number): DirectoryEntry[][] {
  let leaf: DirectoryEntry[] = [];
  const leaves = [leaf];
  let room = LEAF_ROOM - used;
  for (const entry of entries) {
    const length = recordLength(entry.name.length);
    if (length > room) {
      leaf = [];
      leaves.push(leaf);
      room = LEAF_ROOM;
    }
    leaf.push(entry);
    room -= length;
  }
  return leaves;
}

/**
 * The directory's blocks, in order.
 *
 * @param seed checksum seed of the directory's inode
 * @param blocks at least as many as the plan has; the rest are empty
 */
export function* directoryBlocks(
  plan: DirectoryPlan,
  self: number,
  parent: number,
  seed: number,
  blocks: number,
): Iterable<Buffer> {
  const dots = [
    { name: Buffer.from('.'), inode: self, type: DIRECTORY_TYPE },
    { name: Buffer.from('..'), inode: parent, type: DIRECTORY_TYPE },
  ];
  if (plan.indexed) {
    yield* indexBlocks(plan, dots, seed);
    for (const leaf of plan.leaves) yield leafBlock(leaf, seed);
  } else {
    for (const [i, leaf] of plan.leaves.entries()) yield leafBlock(i === 0 ? [...dots, ...leaf] : leaf, seed);
  }
  for (let i = plan.blocks; i < blocks; i++) yield leafBlock([], seed);
}

function leafBlock(entries: readonly DirectoryEntry[], seed: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_SIZE);
  let at = 0;
  entries.forEach((entry, i) => {
    const length = i === entries.length - 1 ? LEAF_ROOM - at : recordLength(entry.name.length);
    writeEntry(bytes, at, entry, length);
    at += length;
  });
  if (entries.length === 0) bytes.writeUInt16LE(LEAF_ROOM, 4);
  bytes.writeUInt16LE(TAIL, LEAF_ROOM + 4);
  bytes.writeUInt8(TAIL_TYPE, LEAF_ROOM + 7);
  bytes.writeUInt32LE(crc32c(seed, bytes, 0, LEAF_ROOM), LEAF_ROOM + 8);
  return bytes;
}

function writeEntry(bytes: Buffer, at: number, entry: DirectoryEntry, length: number): void {
  bytes.writeUInt32LE(entry.inode, at);
  bytes.writeUInt16LE(length, at + 4);
  bytes.writeUInt8(entry.name.length, at + 6);
  bytes.writeUInt8(entry.type, at + 7);
  entry.name.copy(bytes, at + 8);
}

/** The root of the index, which looks like a block with `.` and a `..` that takes the rest, and the nodes below it. */
function* indexBlocks(plan: DirectoryPlan, dots: readonly DirectoryEntry[], seed: number): Iterable<Buffer> {
  const nodes = indexNodes(plan.leaves.length);
  const firstLeaf = 1 + nodes;
  const leaves = plan.leafHashes.map((hash, i) => ({ hash, block: firstLeaf + i }));
  const groups: (typeof leaves)[] = [];
  for (let at = 0; nodes > 0 && at < leaves.length; at += NODE_LIMIT) groups.push(leaves.slice(at, at + NODE_LIMIT));

  const root = Buffer.alloc(BLOCK_SIZE);
  const [self, parent] = dots;
  if (self === undefined || parent === undefined) throw new Error('a directory has two dots');
  writeEntry(root, 0, self, recordLength(1));
  writeEntry(root, recordLength(1), parent, BLOCK_SIZE - recordLength(1));
  root.writeUInt8(HALF_MD4, 28);
  root.writeUInt8(8, 29);
  root.writeUInt8(nodes > 0 ? 1 : 0, 30);
  const children = nodes > 0 ? groups.map((group, i) => ({ hash: group[0]?.hash ?? 0, block: 1 + i })) : leaves;
  writeIndexEntries(root, ROOT_ENTRIES_AT, ROOT_LIMIT, children, seed);
  yield root;

  for (const group of groups) {
    const node = Buffer.alloc(BLOCK_SIZE);
    node.writeUInt16LE(BLOCK_SIZE, 4);
    writeIndexEntries(node, NODE_ENTRIES_AT, NODE_LIMIT, group, seed);
    yield node;
  }
}

/** Entries of a hash and a block each; the first one's hash is left out, in its place stand limit and count. */
function writeIndexEntries(
  bytes: Buffer,
  at: number,
  limit: number,
  children: readonly { readonly hash: number; readonly block: number }[],
  seed: number,
): void {
  children.forEach(({ hash, block }, i) => {
    bytes.writeUInt32LE(hash, at + i * INDEX_ENTRY);
    bytes.writeUInt32LE(block, at + i * INDEX_ENTRY + 4);
  });
  bytes.writeUInt16LE(limit, at);
  bytes.writeUInt16LE(children.length, at + 2);
  const tail = at + limit * INDEX_ENTRY;
  const entriesEnd = at + children.length * INDEX_ENTRY;
  // The tail's own eight bytes are summed as zeros, which they still are.
  bytes.writeUInt32LE(crc32c(crc32c(seed, bytes, 0, entriesEnd), bytes, tail, tail + INDEX_TAIL), tail + 4);
}
