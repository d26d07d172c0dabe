import type { InodeType } from '../tree/inode-table.ts';
import { crc32c, crc32cWord } from './crc32c.ts';
import { isFileCapability } from './file-capability.ts';
import { BLOCK_SIZE, EXTRA_ISIZE, INODE_SIZE } from './format.ts';
import { posixAclOnDisk } from './posix-acl.ts';

const MAGIC = 0xea02_0000;
const ENTRY = 16;
const BLOCK_HEADER = 32;
/** Bytes of an inode after its fixed fields, which hold attributes after a magic number. */
const IN_INODE = INODE_SIZE - 128 - EXTRA_ISIZE;
const MAX_NAME = 255;

const DEFAULT_ACL = 'system.posix_acl_default';
const PREFIXES: readonly (readonly [prefix: string, index: number])[] = [
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
];
const WHOLE_NAMES: readonly (readonly [name: string, index: number])[] = [
  ['system.posix_acl_access', 2],
  [DEFAULT_ACL, 3],
];
const CAPABILITY = 'security.capability';

/** An attribute as ext4 keeps it: the prefix as a number, name and value as bytes. */
export interface Attribute {
  readonly index: number;
  readonly name: Buffer;
  readonly value: Buffer;
}

/**
 * The attribute for a full name and value (byte strings); undefined when ext4 cannot store it, the kernel would reject its value, or no
 * file of this type may have it.
 */
export function toAttribute(type: InodeType, name: string, value: string): Attribute | undefined {
  if (!mayHave(type, name)) return undefined;
  const bytes = Buffer.from(value, 'latin1');
  for (const [whole, index] of WHOLE_NAMES) {
    if (name !== whole) continue;
    const acl = posixAclOnDisk(bytes);
    return acl === undefined ? undefined : { index, name: Buffer.alloc(0), value: acl };
  }
  if (name === CAPABILITY && !isFileCapability(bytes)) return undefined;
  for (const [prefix, index] of PREFIXES) {
    const rest = name.slice(prefix.length);
    if (name.startsWith(prefix) && rest.length > 0 && rest.length <= MAX_NAME && !rest.includes('\0')) {
      return { index, name: Buffer.from(rest, 'latin1'), value: bytes };
    }
  }
  return undefined;
}

/** The rules of the kernel's `xattr_permission` and ext4's `ext4_set_acl`. Such attributes on the disk are listed, but most cannot be read. */
function mayHave(type: InodeType, name: string): boolean {
  if (type === 'directory') return true;
  if (type === 'file') return name !== DEFAULT_ACL;
  return !name.startsWith('user.') && name !== DEFAULT_ACL && (type !== 'symlink' || !name.startsWith('system.'));
}

export interface AttributePlacement {
  /** The inode's bytes after its fixed fields. */
  readonly inInode: Buffer;
  /** Those that go to a separate block; empty when all fit into the inode. */
  readonly inBlock: readonly Attribute[];
}

/**
 * Decides which attributes go into the inode and which into a block: as many as fit into the inode, the smallest first, which are the
 * ones that are read often (capabilities). Undefined when the rest is too large for one block.
 */
export function placeAttributes(attributes: readonly Attribute[]): AttributePlacement | undefined {
  const bySize = [...attributes].sort((a, b) => spaceOf(a) - spaceOf(b) || compareAttributes(a, b));
  const inInode: Attribute[] = [];
  let room = IN_INODE - 4 - 4;
  for (const attribute of bySize) {
    if (spaceOf(attribute) > room) break;
    room -= spaceOf(attribute);
    inInode.push(attribute);
  }
  const inBlock = bySize.slice(inInode.length).sort(compareAttributes);
  const needed = inBlock.reduce((sum, attribute) => sum + spaceOf(attribute), 0);
  if (needed > BLOCK_SIZE - BLOCK_HEADER - 4) return undefined;
  return { inInode: inodeArea(inInode.sort(compareAttributes)), inBlock };
}

/** The block with these attributes, including its checksum. */
export function attributeBlock(attributes: readonly Attribute[], block: number, seed: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_SIZE);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(1, 4);
  bytes.writeUInt32LE(1, 8);
  const hashes = writeEntries(bytes, BLOCK_HEADER, 0, attributes, entryHash);
  const hash = hashes.reduce((all, one) => ((all << 16) ^ (all >>> 16) ^ one) >>> 0, 0);
  bytes.writeUInt32LE(hash, 12);
  const low = crc32cWord(seed, block % 2 ** 32);
  const checksum = crc32c(crc32cWord(low, Math.floor(block / 2 ** 32)), bytes);
  bytes.writeUInt32LE(checksum, 16);
  return bytes;
}

function inodeArea(attributes: readonly Attribute[]): Buffer {
  const area = Buffer.alloc(IN_INODE);
  if (attributes.length === 0) return area;
  area.writeUInt32LE(MAGIC, 0);
  writeEntries(area, 4, 4, attributes, noHash);
  return area;
}

/** Writes entries from `at` on and values backwards from the end; value offsets are relative to `base`. Returns the hashes. */
function writeEntries(
  bytes: Buffer,
  at: number,
  base: number,
  attributes: readonly Attribute[],
  hashOf: (name: Buffer, value: Buffer) => number,
): number[] {
  let entry = at;
  let valueEnd = bytes.length;
  return attributes.map(({ index, name, value }) => {
    valueEnd -= padded(value.length);
    value.copy(bytes, valueEnd);
    bytes.writeUInt8(name.length, entry);
    bytes.writeUInt8(index, entry + 1);
    bytes.writeUInt16LE(value.length === 0 ? 0 : valueEnd - base, entry + 2);
    bytes.writeUInt32LE(value.length, entry + 8);
    const hash = hashOf(name, bytes.subarray(valueEnd, valueEnd + padded(value.length)));
    bytes.writeUInt32LE(hash, entry + 12);
    name.copy(bytes, entry + ENTRY);
    entry += ENTRY + padded(name.length);
    return hash;
  });
}

/** The kernel writes no hashes in an inode. */
function noHash(): number {
  return 0;
}

/**
 * The kernel's `ext4_xattr_hash_entry_signed`, over the name's bytes and the padded value's words. Linux from 6.2 and e2fsprogs from 1.47
 * write hashes of unsigned bytes, but accept both; earlier ones knew only signed bytes on x86.
 */
function entryHash(name: Buffer, value: Buffer): number {
  let hash = 0;
  for (let at = 0; at < name.length; at++) hash = ((hash << 5) ^ (hash >>> 27) ^ name.readInt8(at)) >>> 0;
  for (let at = 0; at < value.length; at += 4) hash = ((hash << 16) ^ (hash >>> 16) ^ value.readUInt32LE(at)) >>> 0;
  return hash;
}

/** The order in which the kernel keeps attributes in a block, and searches them. */
function compareAttributes(a: Attribute, b: Attribute): number {
  return a.index - b.index || a.name.length - b.name.length || a.name.compare(b.name);
}

function spaceOf(attribute: Attribute): number {
  return ENTRY + padded(attribute.name.length) + padded(attribute.value.length);
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}
