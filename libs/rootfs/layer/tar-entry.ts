import type { Header } from 'tar-stream';
import { RootfsError } from '../error.ts';
import type { EntryType, LayerEntry } from './entry.ts';
import { normalizePath, quote } from './path.ts';
import { parsePaxNumber, parsePaxTime } from './pax.ts';
import { type SparseMap, sparseMap } from './sparse.ts';
import type { TarExtensions } from './tar-extensions.ts';

const XATTR_PREFIX = 'SCHILY.xattr.';

/** An entry before its content is read. */
export type EntryHeader = Omit<LayerEntry, 'runs'> & {
  readonly sparse: SparseMap | undefined;
  /** The content begins with the map of a PAX 1.0 sparse file, whose size with the holes is `size`. */
  readonly sparseMapInContent: boolean;
};

/** Puts together what tar-stream read of an entry's header and what its extension headers said. @throws RootfsError */
export function entryHeader(header: Header, extensions: TarExtensions): EntryHeader {
  const pax = new Map(extensions.pax.filter(([, value]) => value !== ''));
  const name = pax.get('GNU.sparse.name') ?? pax.get('path') ?? extensions.name;
  const path = normalizePath(name);
  const type = entryType(header, name);
  const mtime = entryTime(extensions.mtimeSeconds, pax.get('mtime'), name);
  const sparse = extensions.sparse ?? paxSparseMap(extensions.pax, pax);
  const sparseMapInContent = pax.get('GNU.sparse.major') === '1';
  const target = pax.get('linkpath') ?? extensions.target;
  const isDevice = type === 'character-device' || type === 'block-device';
  return {
    type,
    path,
    mode: header.mode & 0o7777,
    uid: owner(header.uid, pax.get('uid'), name),
    gid: owner(header.gid, pax.get('gid'), name),
    ...mtime,
    size: type === 'file' ? fileSize(header, pax, sparse, sparseMapInContent) : 0,
    target: type === 'link' ? normalizePath(target) : type === 'symlink' ? target : '',
    deviceMajor: isDevice ? deviceNumber(header.devmajor, 12, name) : 0,
    deviceMinor: isDevice ? deviceNumber(header.devminor, 20, name) : 0,
    xattrs: xattrs(pax),
    sparse,
    sparseMapInContent,
  };
}

function entryType(header: Header, name: string): EntryType {
  switch (header.type) {
    case 'file':
    case 'contiguous-file':
      return 'file';
    case 'link':
    case 'symlink':
    case 'character-device':
    case 'block-device':
    case 'directory':
    case 'fifo':
      return header.type;
    default:
      throw new RootfsError(
        'layer_corrupt',
        `the layer's entry ${quote(name)} is of a type that no root filesystem has`,
      );
  }
}

function entryTime(
  seconds: number,
  stated: string | undefined,
  name: string,
): Pick<LayerEntry, 'mtimeSeconds' | 'mtimeNanoseconds'> {
  if (stated !== undefined) {
    const time = parsePaxTime(stated);
    if (time === undefined) throw corrupt(name, `a time that is none (${quote(stated)})`);
    return { mtimeSeconds: time.seconds, mtimeNanoseconds: time.nanoseconds };
  }
  return { mtimeSeconds: seconds, mtimeNanoseconds: 0 };
}

function owner(number: number, stated: string | undefined, name: string): number {
  const value = stated === undefined ? number : parsePaxNumber(stated);
  if (value === undefined || !Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw corrupt(name, 'an owner that no file system can hold');
  }
  return value;
}

/** Linux has 12 bits for the major number and 20 for the minor one. */
function deviceNumber(number: number, bits: number, name: string): number {
  if (!Number.isInteger(number) || number < 0 || number >= 2 ** bits)
    throw corrupt(name, 'a device number that is none');
  return number;
}

function fileSize(
  header: Header,
  pax: Map<string, string>,
  sparse: SparseMap | undefined,
  mapInContent: boolean,
): number {
  if (sparse !== undefined) return sparse.size;
  if (mapInContent) return parsePaxNumber(pax.get('GNU.sparse.realsize') ?? '') ?? header.size;
  return header.size;
}

/** The map of GNU's PAX sparse formats 0.0 (repeated keys) and 0.1 (one list). GNU tar manual, "Sparse Formats". */
function paxSparseMap(records: TarExtensions['pax'], pax: Map<string, string>): SparseMap | undefined {
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

function xattrs(pax: Map<string, string>): LayerEntry['xattrs'] {
  const found: [string, string][] = [];
  for (const [key, value] of pax) {
    if (key.startsWith(XATTR_PREFIX)) found.push([key.slice(XATTR_PREFIX.length), value]);
  }
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

function corrupt(name: string, what: string): RootfsError {
  return new RootfsError('layer_corrupt', `the layer's entry ${quote(name)} has ${what}`);
}
