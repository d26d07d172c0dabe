import { RootfsError } from '../error.ts';
import type { EntryType, LayerEntry } from './entry.ts';
import { normalizePath, quote } from './path.ts';
import { type PaxTime, parsePaxNumber, parsePaxTime } from './pax.ts';
import { type SparseMap, sparseMap } from './sparse.ts';
import type { TarEntry } from './tar-reader.ts';

const XATTR_PREFIX = 'SCHILY.xattr.';

/** ACLs in text form, as bsdtar and star write them, and the attributes that hold the same. */
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

/** What chown(2) takes for "as it is", which is root's where root unpacks. No file can have it, and the kernel writes to none that says so. */
const UNCHANGED_OWNER = 0xffff_ffff;

const TYPES: ReadonlyMap<string, EntryType> = new Map([
  ['0', 'file'],
  ['1', 'link'],
  ['2', 'symlink'],
  ['3', 'character-device'],
  ['4', 'block-device'],
  ['5', 'directory'],
  ['6', 'fifo'],
  // "Contiguous", a file to every system of today.
  ['7', 'file'],
]);

/** What an entry is, of what its header and its extension headers say. @throws RootfsError */
export function entryHeader(entry: TarEntry): EntryHeader {
  const { header } = entry;
  const pax = lastRecords(entry.pax);
  const name = pax.get('GNU.sparse.name') ?? entry.name;
  const path = normalizePath(name);
  const type = TYPES.get(header.type);
  if (type === undefined) throw corrupt(name, 'a type that no root filesystem has');
  const mtime = entryTime(header.mtimeSeconds, pax.get('mtime'), name);
  const sparse = entry.sparse ?? paxSparseMap(entry.pax, pax);
  const sparseMapInContent = pax.get('GNU.sparse.major') === '1';
  return {
    type,
    path,
    mode: header.mode & 0o7777,
    uid: owner(header.uid, pax.get('uid'), name),
    gid: owner(header.gid, pax.get('gid'), name),
    mtimeSeconds: mtime.seconds,
    mtimeNanoseconds: mtime.nanoseconds,
    size: type === 'file' ? fileSize(entry, pax, sparse, sparseMapInContent) : 0,
    target: type === 'link' ? normalizePath(entry.target) : type === 'symlink' ? entry.target : '',
    deviceMajor: deviceNumber(header.deviceMajor, 12, name),
    deviceMinor: deviceNumber(header.deviceMinor, 20, name),
    xattrs: xattrs(entry.pax),
    sparse,
    sparseMapInContent,
  };
}

/** By key: the last record counts, and an empty one takes back what others said (POSIX.1-2017 pax, "Extended Header"). */
function lastRecords(records: TarEntry['pax']): Map<string, string> {
  const last = new Map(records);
  for (const [key, value] of last) if (value === '') last.delete(key);
  return last;
}

function entryTime(seconds: number, stated: string | undefined, name: string): PaxTime {
  if (stated === undefined) return { seconds, nanoseconds: 0 };
  const time = parsePaxTime(stated);
  if (time === undefined) throw corrupt(name, `a time that is none (${quote(stated)})`);
  return time;
}

function owner(number: number, stated: string | undefined, name: string): number {
  const value = stated === undefined ? number : parsePaxNumber(stated);
  if (value === undefined || !Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw corrupt(name, 'an owner that no file system can hold');
  }
  return value === UNCHANGED_OWNER ? 0 : value;
}

/** Linux has 12 bits for the major number and 20 for the minor one. */
function deviceNumber(number: number, bits: number, name: string): number {
  if (!Number.isInteger(number) || number < 0 || number >= 2 ** bits)
    throw corrupt(name, 'a device number that is none');
  return number;
}

function fileSize(
  entry: TarEntry,
  pax: Map<string, string>,
  sparse: SparseMap | undefined,
  mapInContent: boolean,
): number {
  if (sparse !== undefined) return sparse.size;
  if (mapInContent) return parsePaxNumber(pax.get('GNU.sparse.realsize') ?? '') ?? entry.contentBytes;
  return entry.contentBytes;
}

/** The map of GNU's PAX sparse formats 0.0 (repeated keys) and 0.1 (one list). GNU tar manual, "Sparse Formats". */
function paxSparseMap(records: TarEntry['pax'], pax: Map<string, string>): SparseMap | undefined {
  const size = parsePaxNumber(pax.get('GNU.sparse.size') ?? '');
  if (size === undefined || pax.has('GNU.sparse.major')) return undefined;
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

/** An attribute may be empty: there is nothing else that an empty record could take back, as Docker, Podman and GNU tar have it. */
function xattrs(records: TarEntry['pax']): LayerEntry['xattrs'] {
  const found: [string, string][] = [];
  const last = new Map(records);
  for (const [key, value] of last) {
    if (key.startsWith(XATTR_PREFIX)) found.push([key.slice(XATTR_PREFIX.length), value]);
  }
  // Nothing but Go's archive/tar decides what these mean in layers, and it passes them by. Their names are kept, for a warning.
  for (const [key, attribute] of TEXT_ACLS) {
    const text = last.get(key) ?? '';
    const isLost = text !== '' && (key === 'SCHILY.acl.default' || !isMode(text));
    if (isLost && !last.has(`${XATTR_PREFIX}${attribute}`)) found.push([key, '']);
  }
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Whether an ACL says no more than the mode does: of owner, group and others. */
function isMode(acl: string): boolean {
  return /^(?:(?:user|group|other)::[^,\n]*[,\n]?){3}$/.test(acl);
}

function corrupt(name: string, what: string): RootfsError {
  return new RootfsError('layer_corrupt', `the layer's entry ${quote(name)} has ${what}`);
}
