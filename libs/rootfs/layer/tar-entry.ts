import { RootfsError } from '../error.ts';
import type { EntryType, LayerEntry } from './entry.ts';
import { normalizePath, quote } from './path.ts';
import { type PaxTime, parsePaxNumber, parsePaxTime } from './pax.ts';
import { type SparseMap, sparseMap } from './sparse.ts';
import type { TarEntry } from './tar-reader.ts';

const XATTR_PREFIX = 'SCHILY.xattr.';

/** The keys of ACLs in text form, as bsdtar and star write them, and the attributes with the same content. */
const TEXT_ACLS = [
  ['SCHILY.acl.access', 'system.posix_acl_access'],
  ['SCHILY.acl.default', 'system.posix_acl_default'],
] as const;

/** An entry before its content is read. */
export type EntryHeader = Omit<LayerEntry, 'runs'> & {
  readonly sparse: SparseMap | undefined;
  /** The content begins with the map of a PAX 1.0 sparse file, whose size with the holes is `size`. */
  readonly sparseMapInContent: boolean;
};

/** For chown(2), -1 means "unchanged", which is root where root unpacks. No file can have it: the kernel refuses to write to such inodes. */
const UNCHANGED_OWNER = 0xffff_ffff;

const TYPES: ReadonlyMap<string, EntryType> = new Map([
  ['0', 'file'],
  ['1', 'link'],
  ['2', 'symlink'],
  ['3', 'character-device'],
  ['4', 'block-device'],
  ['5', 'directory'],
  ['6', 'fifo'],
  // "Contiguous", which every system of today treats as a file.
  ['7', 'file'],
]);

/** Interprets an entry's header and extension headers. @throws RootfsError `layer_corrupt`, `path_escapes_root` */
export function entryHeader(entry: TarEntry): EntryHeader {
  const { header } = entry;
  const pax = lastRecords(entry.pax);
  const form = entry.sparse === undefined ? sparseForm(pax, entry.pax) : undefined;
  const name = (form && pax.get('GNU.sparse.name')) ?? entry.name;
  const path = normalizePath(name);
  const type = TYPES.get(header.type);
  if (type === undefined) throw corrupt(name, `the type ${quote(header.type)}, which no root filesystem has`);
  const mtime = entryTime(header.mtimeSeconds, pax.get('mtime'), name);
  const sparseSize = form && paxSparseSize(pax, entry, name);
  const sparse =
    form === 'records' && sparseSize !== undefined ? paxSparseMap(entry.pax, pax, sparseSize) : entry.sparse;
  const size = sparse?.size ?? sparseSize ?? entry.contentBytes;
  return {
    type,
    path,
    mode: header.mode & 0o7777,
    uid: owner(header.uid, pax.get('uid'), name),
    gid: owner(header.gid, pax.get('gid'), name),
    mtimeSeconds: mtime.seconds,
    mtimeNanoseconds: mtime.nanoseconds,
    size: type === 'file' ? size : 0,
    target: type === 'link' ? normalizePath(entry.target) : type === 'symlink' ? entry.target : '',
    deviceMajor: deviceNumber(header.deviceMajor, 12, name),
    deviceMinor: deviceNumber(header.deviceMinor, 20, name),
    xattrs: xattrs(entry.pax),
    sparse,
    sparseMapInContent: form === 'content',
  };
}

/** By key: the last record counts, and an empty one cancels the others (POSIX.1-2017 pax, "Extended Header"). */
function lastRecords(records: TarEntry['pax']): Map<string, string> {
  const last = new Map(records);
  for (const [key, value] of last) if (value === '') last.delete(key);
  return last;
}

function entryTime(seconds: number, stated: string | undefined, name: string): PaxTime {
  if (stated === undefined) return { seconds, nanoseconds: 0 };
  const time = parsePaxTime(stated);
  if (time === undefined) throw corrupt(name, `an invalid time (${quote(stated)})`);
  return time;
}

function owner(number: number, stated: string | undefined, name: string): number {
  const value = stated === undefined ? number : parseOwner(stated);
  if (!Number.isSafeInteger(value) || value < -(2 ** 31) || value > 0xffff_ffff) {
    throw corrupt(name, 'an owner that no file system can hold');
  }
  // The kernel's ids are unsigned 32-bit numbers, in which -2 is 4294967294.
  const bits = value >>> 0;
  return bits === UNCHANGED_OWNER ? 0 : bits;
}

/** Linux has 12 bits for the major number and 20 for the minor one. */
function deviceNumber(number: number, bits: number, name: string): number {
  if (number < 0 || number >= 2 ** bits) throw corrupt(name, 'an invalid device number');
  return number;
}

function parseOwner(text: string): number {
  const isNegative = /^-\d/.test(text);
  const size = parsePaxNumber(isNegative ? text.slice(1) : text) ?? Number.NaN;
  return isNegative ? -size : size;
}

/**
 * Where the map of a PAX sparse file is: in its records (GNU's formats 0.0 and 0.1) or before its content (1.0). Undefined for other files,
 * and for unknown versions, whose records are ignored as in Go's archive/tar. GNU tar manual, "Sparse Formats".
 */
function sparseForm(pax: Map<string, string>, records: TarEntry['pax']): 'records' | 'content' | undefined {
  const major = pax.get('GNU.sparse.major');
  const minor = pax.get('GNU.sparse.minor');
  if (major === '0' && (minor === '0' || minor === '1')) return 'records';
  if (major === '1' && minor === '0') return 'content';
  const hasMap = pax.has('GNU.sparse.map') || records.some(([key]) => key === 'GNU.sparse.offset');
  return major === undefined && minor === undefined && hasMap ? 'records' : undefined;
}

/** The size including holes. */
function paxSparseSize(pax: Map<string, string>, entry: TarEntry, name: string): number {
  const stated = pax.get('GNU.sparse.size') ?? pax.get('GNU.sparse.realsize');
  const size = stated === undefined ? entry.contentBytes : parsePaxNumber(stated);
  if (size === undefined) throw corrupt(name, 'an invalid size');
  return size;
}

/** The map in the records of a sparse file: repeated keys (0.0), or one list (0.1). */
function paxSparseMap(records: TarEntry['pax'], pax: Map<string, string>, size: number): SparseMap {
  const list = pax.get('GNU.sparse.map');
  const texts =
    list === undefined
      ? records
          .filter(([key]) => key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes')
          .map(([, value]) => value)
      : list.split(',');
  const numbers = texts.map((text) => parsePaxNumber(text) ?? Number.NaN);
  return sparseMap(size, numbers);
}

/** The extended attributes. An empty record is an empty attribute, and cancels nothing: as in Docker, Podman and GNU tar. */
function xattrs(records: TarEntry['pax']): LayerEntry['xattrs'] {
  const found: [string, string][] = [];
  const last = new Map(records);
  for (const [key, value] of last) {
    if (key.startsWith(XATTR_PREFIX)) found.push([key.slice(XATTR_PREFIX.length), value]);
  }
  // Container tools ignore ACLs in text form, since Go's archive/tar does. Their names are kept for a warning.
  for (const [key, attribute] of TEXT_ACLS) {
    const text = last.get(key) ?? '';
    const isLost = text !== '' && (key === 'SCHILY.acl.default' || !isMode(text));
    if (isLost && !last.has(`${XATTR_PREFIX}${attribute}`)) found.push([key, '']);
  }
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Whether an ACL says no more than the mode does: permissions of owner, group and others. */
function isMode(acl: string): boolean {
  return /^(?:(?:user|group|other)::[^,\n]*[,\n]?){3}$/.test(acl);
}

function corrupt(name: string, what: string): RootfsError {
  return new RootfsError('layer_corrupt', `the layer's entry ${quote(name)} has ${what}`);
}
