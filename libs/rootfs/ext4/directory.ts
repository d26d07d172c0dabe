import { RootfsError } from '../error.ts';
import { giveBack } from '../layer/chunk-memory.ts';
import type { ByteStrings } from '../tree/byte-strings.ts';
import { crc32c, crc32cZeros } from './crc32c.ts';
import { type HashSeed, halfMd4, halfMd4Minor } from './directory-hash.ts';
import { BLOCK_SIZE } from './format.ts';
import { sortByKey } from './sort-by-key.ts';

/** The entries of one directory, without `.` and `..`: for each its name, inode number and type code. */
export interface DirectoryEntries {
  /** Holds the bytes of the names, to which `names` has the offsets. */
  readonly strings: ByteStrings;
  readonly names: Uint32Array;
  readonly inodes: Uint32Array;
  readonly types: Uint8Array;
}

/** The layout of a directory's entries in its blocks. */
export interface DirectoryPlan {
  /** All blocks, including those of the index. */
  readonly blocks: number;
  readonly indexed: boolean;
  readonly entries: DirectoryEntries;
  /** The entries in the order in which they are stored. */
  readonly order: Uint32Array;
  /** For each leaf: where in `order` its entries begin. */
  readonly leafStarts: readonly number[];
  /** For each leaf of an indexed directory: its lowest hash, with the lowest bit set when the leaf before also has names of that hash. */
  readonly leafHashes: readonly number[];
}

const TAIL = 12;
const LEAF_ROOM = BLOCK_SIZE - TAIL;
const DOTS = recordLength(1) + recordLength(2);
const TAIL_TYPE = 0xde;
const DIRECTORY_TYPE = 2;
const DOT = Buffer.from('.');
const DOT_DOT = Buffer.from('..');

const INDEX_ENTRY = 8;
const ROOT_ENTRIES_AT = 32;
const NODE_ENTRIES_AT = 8;
const INDEX_TAIL = 8;
const ROOT_LIMIT = (BLOCK_SIZE - ROOT_ENTRIES_AT - INDEX_TAIL) / INDEX_ENTRY;
const NODE_LIMIT = (BLOCK_SIZE - NODE_ENTRIES_AT - INDEX_TAIL) / INDEX_ENTRY;
const HALF_MD4 = 1;

/** Entries from which on freeing a directory's arrays explicitly is worth the 2 microseconds each. Most directories are small. */
const LARGE = 10_000;

/** Bytes of the record of an entry. */
function recordLength(nameLength: number): number {
  return Math.ceil((8 + nameLength) / 4) * 4;
}

/**
 * Lays out the entries, as `e2fsck -D` does: by inode number where they fit into one block (not counting `.` and `..`), else by hash with
 * an index.
 */
export function planDirectory(entries: DirectoryEntries, hashSeed: HashSeed): DirectoryPlan {
  // A loop, since `Uint32Array.from` builds a list first: 40 MB more for 500,000 names.
  const order = new Uint32Array(entries.names.length);
  for (let entry = 0; entry < order.length; entry++) order[entry] = entry;
  if (packLeaves(entries, order, 0).length === 1) {
    order.sort((a, b) => (entries.inodes[a] ?? 0) - (entries.inodes[b] ?? 0));
    const leafStarts = packLeaves(entries, order, DOTS);
    return { blocks: leafStarts.length, indexed: false, entries, order, leafStarts, leafHashes: [] };
  }
  const hashes = new Uint32Array(order.length);
  const { strings, names } = entries;
  for (let entry = 0; entry < order.length; entry++) {
    const name = names[entry] ?? 0;
    const start = strings.startOf(name);
    hashes[entry] = halfMd4(strings.chunkOf(name), start, start + strings.lengthOf(name), hashSeed);
  }
  const hashOf = (entry: number): number => hashes[entry] ?? 0;
  const minorOf = (entry: number): number => halfMd4Minor(nameOf(entries, entry), hashSeed);
  sortByKey(order, hashes);
  // Few names share a hash.
  for (let from = 0, to = 1; from < order.length; from = to++) {
    while (to < order.length && hashOf(order[to] ?? 0) === hashOf(order[from] ?? 0)) to++;
    if (to - from > 1)
      order
        .subarray(from, to)
        .sort((a, b) => minorOf(a) - minorOf(b) || nameOf(entries, a).compare(nameOf(entries, b)));
  }
  const leafStarts = packLeaves(entries, order, 0);
  const leafHashes = leafStarts.map((at) => {
    const hash = hashOf(order[at] ?? 0);
    return at > 0 && hashOf(order[at - 1] ?? 0) === hash ? hash + 1 : hash;
  });
  if (hashes.length >= LARGE) giveBack(hashes);
  const blocks = 1 + indexNodes(leafStarts.length) + leafStarts.length;
  return { blocks, indexed: true, entries, order, leafStarts, leafHashes };
}

/** Frees the memory of a plan, which cannot be used afterwards. */
export function dropPlan({ entries, order }: DirectoryPlan): void {
  if (order.length < LARGE) return;
  for (const list of [entries.names, entries.inodes, entries.types, order]) giveBack(list);
}

function nameOf({ strings, names }: DirectoryEntries, entry: number): Buffer {
  const name = names[entry] ?? 0;
  const start = strings.startOf(name);
  return strings.chunkOf(name).subarray(start, start + strings.lengthOf(name));
}

/** Blocks of a directory with names of these lengths (bytes); undefined when it gets an index. */
export function linearBlocks(nameLengths: Iterable<number>): number | undefined {
  let bytes = 0;
  for (const nameLength of nameLengths) {
    bytes += recordLength(nameLength);
    if (bytes > LEAF_ROOM) return undefined;
  }
  return bytes + DOTS <= LEAF_ROOM ? 1 : 2;
}

/**
 * Number of index nodes between the root of an index and its leaves.
 *
 * @throws RootfsError `image_too_large` for more than two levels can hold (3.9 million names of 255 bytes); that would need `large_dir`
 */
export function indexNodes(leaves: number): number {
  const nodes = leaves <= ROOT_LIMIT ? 0 : Math.ceil(leaves / NODE_LIMIT);
  if (nodes <= ROOT_LIMIT) return nodes;
  throw new RootfsError('image_too_large', `the image has a directory of ${leaves} blocks, more than ext4 indexes`);
}

/** Where in `order` each leaf begins; `used` bytes of the first one are taken already. */
function packLeaves({ strings, names }: DirectoryEntries, order: Uint32Array, used: number): number[] {
  const starts = [0];
  let room = LEAF_ROOM - used;
  for (let at = 0; at < order.length; at++) {
    const length = recordLength(strings.lengthOf(names[order[at] ?? 0] ?? 0));
    if (length > room) {
      starts.push(at);
      room = LEAF_ROOM;
    }
    room -= length;
  }
  return starts;
}

/**
 * The directory's blocks, in order. Each is valid only until the next one is requested.
 *
 * @param self the directory's inode number
 * @param parent its parent's
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
  const [root, ...nodes] = plan.indexed ? indexBlocks(plan, self, parent, seed) : [];
  if (root !== undefined) yield root;
  const leaf = Buffer.alloc(BLOCK_SIZE);
  for (const [i, start] of plan.leafStarts.entries()) {
    leaf.fill(0);
    const dots = i === 0 && !plan.indexed ? writeDots(leaf, self, parent) : NO_RECORDS;
    const end = plan.leafStarts[i + 1] ?? plan.order.length;
    yield sealLeaf(leaf, writeLeaf(leaf, dots, plan, start, end), seed);
  }
  yield* nodes;
  for (let i = plan.blocks; i < blocks; i++) yield sealLeaf(leaf.fill(0), UNUSED, seed);
}

/** Where the last record in a leaf begins, and where it ends; after that, the leaf is all zeros. */
interface Records {
  readonly last: number;
  readonly end: number;
}

const NO_RECORDS: Records = { last: 0, end: 0 };
/** Of an empty leaf: a single record without a name. */
const UNUSED: Records = { last: 0, end: recordLength(0) };

function writeDots(bytes: Buffer, self: number, parent: number): Records {
  writeRecord(bytes, 0, self, recordLength(1), DIRECTORY_TYPE, DOT);
  writeRecord(bytes, recordLength(1), parent, recordLength(2), DIRECTORY_TYPE, DOT_DOT);
  return { last: recordLength(1), end: DOTS };
}

/** Writes the entries `order[from, to)` of the plan. */
function writeLeaf(bytes: Buffer, before: Records, plan: DirectoryPlan, from: number, to: number): Records {
  const { entries, order } = plan;
  let { last, end } = before;
  for (let at = from; at < to; at++) {
    const entry = order[at] ?? 0;
    const name = nameOf(entries, entry);
    const length = recordLength(name.length);
    writeRecord(bytes, end, entries.inodes[entry] ?? 0, length, entries.types[entry] ?? 0, name);
    last = end;
    end += length;
  }
  return { last, end };
}

/** Extends the last record to the end of the leaf, and adds the checksum. */
function sealLeaf(bytes: Buffer, { last, end }: Records, seed: number): Buffer {
  bytes.writeUInt16LE(LEAF_ROOM - last, last + 4);
  bytes.writeUInt16LE(TAIL, LEAF_ROOM + 4);
  bytes.writeUInt8(TAIL_TYPE, LEAF_ROOM + 7);
  bytes.writeUInt32LE(crc32cZeros(crc32c(seed, bytes, 0, end), LEAF_ROOM - end), LEAF_ROOM + 8);
  return bytes;
}

function writeRecord(bytes: Buffer, at: number, inode: number, length: number, type: number, name: Buffer): void {
  bytes.writeUInt32LE(inode, at);
  bytes.writeUInt16LE(length, at + 4);
  bytes.writeUInt8(name.length, at + 6);
  bytes.writeUInt8(type, at + 7);
  name.copy(bytes, at + 8);
}

/** The index: its root, which looks like a leaf with `.` and a `..` that fills the rest, and the nodes below it, stored after the leaves. */
function indexBlocks(plan: DirectoryPlan, self: number, parent: number, seed: number): Buffer[] {
  const nodes = indexNodes(plan.leafStarts.length);
  const firstNode = 1 + plan.leafStarts.length;
  const leaves = plan.leafHashes.map((hash, i) => ({ hash, block: 1 + i }));
  const groups: (typeof leaves)[] = [];
  for (let at = 0; nodes > 0 && at < leaves.length; at += NODE_LIMIT) groups.push(leaves.slice(at, at + NODE_LIMIT));

  const root = Buffer.alloc(BLOCK_SIZE);
  writeRecord(root, 0, self, recordLength(1), DIRECTORY_TYPE, DOT);
  writeRecord(root, recordLength(1), parent, BLOCK_SIZE - recordLength(1), DIRECTORY_TYPE, DOT_DOT);
  root.writeUInt8(HALF_MD4, 28);
  root.writeUInt8(8, 29);
  root.writeUInt8(nodes > 0 ? 1 : 0, 30);
  const children = nodes > 0 ? groups.map((group, i) => ({ hash: group[0]?.hash ?? 0, block: firstNode + i })) : leaves;
  writeIndexEntries(root, ROOT_ENTRIES_AT, ROOT_LIMIT, children, seed);

  const below = groups.map((group) => {
    const node = Buffer.alloc(BLOCK_SIZE);
    node.writeUInt16LE(BLOCK_SIZE, 4);
    writeIndexEntries(node, NODE_ENTRIES_AT, NODE_LIMIT, group, seed);
    return node;
  });
  return [root, ...below];
}

/** Writes index entries, a hash and a block each. Limit and count take the place of the first one's hash. */
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
  // The tail counts as zeros in the checksum, which it still is.
  bytes.writeUInt32LE(crc32c(crc32c(seed, bytes, 0, entriesEnd), bytes, tail, tail + INDEX_TAIL), tail + 4);
}
