import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import {
  type Bytes,
  bytesOf,
  contentFragments,
  contentSize,
  type EntryType,
  type Fragment,
  headerFields,
  readContent,
  type TarEntry,
} from './tar-entry.ts';

/**
 * A tar writer that makes, byte for byte, each form that tools in use make, and broken ones. Sources: POSIX.1-2017 pax
 * (ustar and PAX), the GNU tar manual's "Tar Internals" (L and K, base-256, old sparse, sparse 0.0, 0.1 and 1.0), and
 * `SCHILY.xattr` as star defined it and libarchive and Go write it.
 *
 * It refuses what a form cannot hold rather than write something near it, so a test means what it says.
 */

/** What a tar is made of: entries, and bytes put in as they are. */
export type TarItem = TarEntry | { readonly raw: Buffer };

export interface TarOptions {
  /** Blocks of zeros at the end: 2 by the standard, 0 and 1 are common, more fill a record. */
  readonly endBlocks?: number;
  /** Ends the archive after this many bytes, as a broken transfer does. */
  readonly cutAt?: number;
}

const BLOCK = 512;
const CHUNK = 1024 * 1024;

const typeFlags: Record<EntryType, string> = {
  file: '0',
  link: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
};

/** The whole archive in memory. */
export function tarBuffer(items: Iterable<TarItem>, options: TarOptions = {}): Buffer {
  return Buffer.concat([...tarChunks(items, options)]);
}

/** Writes the archive to a file and returns its size in bytes and the SHA-256 of its bytes, in hex. */
export async function writeTar(
  path: string,
  items: Iterable<TarItem>,
  options: TarOptions = {},
): Promise<{ size: number; sha256: string }> {
  const file = await open(path, 'w');
  const hash = createHash('sha256');
  let size = 0;
  try {
    for (const chunk of tarChunks(items, options)) {
      hash.update(chunk);
      await file.write(chunk);
      size += chunk.length;
    }
  } finally {
    await file.close();
  }
  return { size, sha256: hash.digest('hex') };
}

/** The archive's bytes in chunks of about 1 MiB; content is asked for as it is needed. */
export function* tarChunks(items: Iterable<TarItem>, options: TarOptions = {}): Generator<Buffer> {
  let left = options.cutAt ?? Number.POSITIVE_INFINITY;
  let pending: Buffer[] = [];
  let size = 0;
  for (const piece of pieces(items, options.endBlocks ?? 2)) {
    const part = piece.length <= left ? piece : piece.subarray(0, left);
    left -= part.length;
    pending.push(part);
    size += part.length;
    if (size < CHUNK && left > 0) continue;
    // Large pieces as they are: a copy of each would be a third of the time that a large file takes.
    if (part.length >= CHUNK) yield* pending;
    else yield Buffer.concat(pending);
    pending = [];
    size = 0;
    if (left === 0) return;
  }
  if (size > 0) yield Buffer.concat(pending);
}

function* pieces(items: Iterable<TarItem>, endBlocks: number): Generator<Buffer> {
  for (const item of items) {
    if ('raw' in item) yield item.raw;
    else yield* entryPieces(item);
  }
  yield Buffer.alloc(endBlocks * BLOCK);
}

/** What goes into a header block, as the entry's form wants it. */
interface HeaderValues {
  readonly name: Buffer;
  readonly prefix: Buffer;
  readonly linkName: Buffer;
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: bigint;
  readonly typeFlag: string;
  readonly mode: number;
}

function* entryPieces(entry: TarEntry): Generator<Buffer> {
  const format = entry.encoding?.format ?? 'pax';
  const sparse = entry.encoding?.sparse;
  if (sparse === 'gnu' && format !== 'gnu') throw new Error("GNU's old sparse form needs the gnu format");
  if (sparse?.startsWith('pax') && format !== 'pax') throw new Error('PAX sparse forms need the pax format');

  const path = bytesOf(entry.path);
  const fragments = contentFragments(entry.content);
  const map = sparse === undefined ? undefined : sparseMap(entry);
  const mapBody = sparse === 'pax-1.0' ? paddedToBlock(sparseMapText(map ?? [])) : Buffer.alloc(0);
  const fragmentBytes = fragments.reduce((sum, fragment) => sum + fragment.length, 0);
  const stored = sparse === undefined ? contentSize(entry.content) : fragmentBytes + mapBody.length;
  const size = entry.encoding?.claimedSize ?? stored;

  const records: [string, Bytes][] = [];
  if (sparse?.startsWith('pax')) records.push(...sparseRecords(entry, map ?? []));
  const storedPath = sparse === 'pax-0.1' || sparse === 'pax-1.0' ? sparsePlaceholder(path) : path;

  const values =
    format === 'pax'
      ? paxValues(entry, storedPath, size, records)
      : format === 'gnu'
        ? gnuValues(entry, storedPath, size)
        : ustarValues(entry, storedPath, size);

  if (format === 'gnu') {
    const target = bytesOf(entry.target ?? '');
    if (target.length > 100) yield* gnuLongName('K', target);
    if (storedPath.length > 100) yield* gnuLongName('L', storedPath);
  }
  records.push(...(entry.xattrs ?? []).map(([name, value]): [string, Bytes] => [`SCHILY.xattr.${name}`, value]));
  if (records.length > 0 && format !== 'pax')
    throw new Error(`the ${format} format has no place for extended attributes`);
  records.push(...(entry.encoding?.extraRecords ?? []).map(([key, value]): [string, Bytes] => [key, value]));
  if (records.length > 0) yield* paxHeader(path, records);

  const header = headerBlock(entry, values);
  if (sparse === 'gnu') {
    const extensions = writeGnuSparseMap(header, map ?? [], contentSize(entry.content));
    sealHeader(header, entry);
    yield header;
    yield* extensions;
  } else {
    sealHeader(header, entry);
    yield header;
  }

  yield mapBody;
  if (entry.content === undefined) return;
  const ranges = sparse === undefined ? [{ offset: 0, length: contentSize(entry.content) }] : fragments;
  for (const range of ranges) {
    for (let at = 0; at < range.length; at += CHUNK) {
      yield readContent(entry.content, range.offset + at, Math.min(CHUNK, range.length - at));
    }
  }
  yield padding(stored);
}

function ustarValues(entry: TarEntry, path: Buffer, size: number): HeaderValues {
  const split = entry.encoding?.format === 'v7' ? splitWithin(path, 0) : splitWithin(path, 155);
  if (split === undefined) throw new Error(`a path of ${path.length} bytes does not fit a ustar header`);
  const target = bytesOf(entry.target ?? '');
  if (target.length > 100) throw new Error(`a target of ${target.length} bytes does not fit a ustar header`);
  return { ...split, ...plainValues(entry), linkName: target, size };
}

function gnuValues(entry: TarEntry, path: Buffer, size: number): HeaderValues {
  return {
    name: path.subarray(0, 100),
    prefix: Buffer.alloc(0),
    linkName: bytesOf(entry.target ?? '').subarray(0, 100),
    ...plainValues(entry),
    size,
  };
}

function plainValues(entry: TarEntry) {
  const mtime = entry.mtime ?? 0n;
  if (mtime % 1_000_000_000n !== 0n) throw new Error('parts of a second need the pax format');
  return {
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    mtimeSeconds: mtime / 1_000_000_000n,
    typeFlag: typeFlagOf(entry),
    mode: modeOf(entry),
  };
}

/** The values of a PAX entry's header; what they cannot hold, or is forced, is added to `records`. */
function paxValues(entry: TarEntry, path: Buffer, size: number, records: [string, Bytes][]): HeaderValues {
  const forced = new Set(entry.encoding?.forcedRecords ?? []);
  const split = isAscii(path) ? splitWithin(path, 155) : undefined;
  const namedByMap = records.some(([key]) => key === 'GNU.sparse.name');
  if ((split === undefined || forced.has('path')) && !namedByMap) records.push(['path', path]);

  const target = bytesOf(entry.target ?? '');
  if (target.length > 100 || !isAscii(target) || forced.has('linkpath')) records.push(['linkpath', target]);

  const mtime = entry.mtime ?? 0n;
  const mtimeSeconds = floorDivide(mtime, 1_000_000_000n);
  const plainTime = mtime % 1_000_000_000n === 0n && mtimeSeconds >= 0n && mtimeSeconds < 8n ** 11n;
  if (!plainTime || forced.has('mtime')) records.push(['mtime', paxTime(mtime)]);

  const uid = entry.uid ?? 0;
  const gid = entry.gid ?? 0;
  const base256 = entry.encoding?.numbers === 'base-256';
  if ((uid >= 8 ** 7 && !base256) || forced.has('uid')) records.push(['uid', String(uid)]);
  if ((gid >= 8 ** 7 && !base256) || forced.has('gid')) records.push(['gid', String(gid)]);
  if ((size >= 8 ** 11 && !base256) || forced.has('size')) records.push(['size', String(size)]);

  return {
    name: split?.name ?? path.subarray(0, 100),
    prefix: split?.prefix ?? Buffer.alloc(0),
    linkName: target.subarray(0, 100),
    uid: base256 ? uid : Math.min(uid, 8 ** 7 - 1),
    gid: base256 ? gid : Math.min(gid, 8 ** 7 - 1),
    size: base256 ? size : Math.min(size, 8 ** 11 - 1),
    mtimeSeconds: plainTime ? mtimeSeconds : 0n,
    typeFlag: typeFlagOf(entry),
    mode: modeOf(entry),
  };
}

function typeFlagOf(entry: TarEntry): string {
  if (entry.encoding?.typeFlag !== undefined) return entry.encoding.typeFlag;
  return entry.encoding?.sparse === 'gnu' ? 'S' : typeFlags[entry.type];
}

function modeOf(entry: TarEntry): number {
  return entry.mode ?? (entry.type === 'directory' ? 0o755 : 0o644);
}

/** The name (at most 100 bytes) and the prefix (at most `limit`) that a `/` between them joins to the path. */
function splitWithin(path: Buffer, limit: number): { name: Buffer; prefix: Buffer } | undefined {
  if (path.length <= 100) return { name: path, prefix: Buffer.alloc(0) };
  for (let at = Math.min(limit, path.length - 2); at > 0 && path.length - at - 1 <= 100; at--) {
    if (path[at] === 0x2f) return { name: path.subarray(at + 1), prefix: path.subarray(0, at) };
  }
  return undefined;
}

function headerBlock(entry: TarEntry, values: HeaderValues): Buffer {
  const format = entry.encoding?.format ?? 'pax';
  const header = Buffer.alloc(BLOCK);
  const number = (field: 'mode' | 'uid' | 'gid' | 'size' | 'mtime' | 'deviceMajor' | 'deviceMinor', value: bigint) =>
    putNumber(header, headerFields[field], value, format, entry.encoding?.numbers ?? 'octal');
  put(header, 'name', values.name);
  number('mode', BigInt(values.mode));
  number('uid', BigInt(values.uid));
  number('gid', BigInt(values.gid));
  number('size', BigInt(values.size));
  number('mtime', values.mtimeSeconds);
  header.write(values.typeFlag, headerFields.typeFlag[0], 'latin1');
  put(header, 'linkName', values.linkName);
  if (format === 'v7') return header;
  header.write(format === 'gnu' ? 'ustar  \0' : 'ustar\x0000', headerFields.magic[0], 'latin1');
  put(header, 'userName', Buffer.from('root'));
  put(header, 'groupName', Buffer.from('root'));
  number('deviceMajor', BigInt(entry.deviceMajor ?? 0));
  number('deviceMinor', BigInt(entry.deviceMinor ?? 0));
  put(header, 'prefix', values.prefix);
  return header;
}

function put(header: Buffer, field: keyof typeof headerFields, value: Buffer): void {
  const [offset, length] = headerFields[field];
  value.copy(header, offset, 0, Math.min(length, value.length));
}

function putNumber(
  header: Buffer,
  [offset, length]: readonly [number, number],
  value: bigint,
  format: string,
  numbers: 'octal' | 'octal-space' | 'base-256',
): void {
  const spaced = numbers === 'octal-space';
  const digits = spaced && length === 8 ? 6 : length - 1;
  const fits = value >= 0n && value < 8n ** BigInt(digits);
  if (fits && numbers !== 'base-256') {
    header.write(value.toString(8).padStart(digits, spaced ? ' ' : '0') + (spaced ? ' ' : '\0'), offset, 'latin1');
    return;
  }
  if (format === 'v7' || format === 'ustar') throw new Error(`${value} does not fit a ${format} header`);
  // Two's complement, big-endian, in all bytes of the field; the top bit of the first marks the form, as GNU tar does.
  let rest = BigInt.asUintN(length * 8, value);
  for (let at = offset + length - 1; at >= offset; at--) {
    header[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  header[offset] = (header[offset] ?? 0) | 0x80;
}

/** Puts the entry's raw fields and the checksum into a header. */
function sealHeader(header: Buffer, entry: TarEntry): void {
  const { fields, checksum } = entry.encoding ?? {};
  if (fields !== undefined) {
    for (const [field, [offset]] of Object.entries(headerFields)) {
      const raw = Object.entries(fields).find(([name]) => name === field);
      raw?.[1].copy(header, offset);
    }
    if (fields.checksum !== undefined) return;
  }
  header.write('        ', headerFields.checksum[0], 'latin1');
  const sum = checksumOf(header, checksum === 'signed') + (checksum === 'wrong' ? 1 : 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, headerFields.checksum[0], 'latin1');
}

function checksumOf(header: Buffer, signed: boolean): number {
  let sum = 0;
  // By index: an iterator takes several times as long, 2 s for the headers of the large tree.
  for (let at = 0; at < header.length; at++) {
    const byte = header[at] ?? 0;
    sum += signed && byte > 127 ? byte - 256 : byte;
  }
  return sum;
}

function* gnuLongName(typeFlag: 'L' | 'K', value: Buffer): Generator<Buffer> {
  const body = Buffer.concat([value, Buffer.from([0])]);
  const carrier: TarEntry = { path: '././@LongLink', type: 'file', encoding: { format: 'gnu', typeFlag } };
  const header = headerBlock(carrier, gnuValues(carrier, bytesOf(carrier.path), body.length));
  sealHeader(header, carrier);
  yield header;
  yield paddedToBlock(body);
}

function* paxHeader(path: Buffer, records: readonly (readonly [string, Bytes])[]): Generator<Buffer> {
  yield* paxBlocks(
    'x',
    `PaxHeaders.0/${path
      .subarray(0, 80)
      .toString('latin1')
      .replaceAll(/[^ -.0-~]/g, '_')}`,
    records,
  );
}

/** A PAX header entry: `x` for the entry that follows, `g` for all that follow. */
export function* paxBlocks(
  typeFlag: 'x' | 'g',
  name: string,
  records: readonly (readonly [key: string, value: Bytes])[],
): Generator<Buffer> {
  const body = Buffer.concat(records.map(([key, value]) => paxRecord(key, bytesOf(value))));
  const carrier: TarEntry = { path: name, type: 'file', encoding: { typeFlag } };
  const header = headerBlock(carrier, ustarValues(carrier, Buffer.from(name), body.length));
  sealHeader(header, carrier);
  yield header;
  yield paddedToBlock(body);
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function paxRecord(key: string, value: Buffer): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = tail.length + 1;
  while (String(length).length + tail.length !== length) length = String(length).length + tail.length;
  return Buffer.concat([Buffer.from(String(length)), tail]);
}

/** Decimal seconds with as many digits after the point as are needed; a negative time is its size with a minus before. */
export function paxTime(nanoseconds: bigint): string {
  const size = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  const sign = nanoseconds < 0n ? '-' : '';
  const fraction = (size % 1_000_000_000n).toString().padStart(9, '0').replace(/0+$/, '');
  return `${sign}${size / 1_000_000_000n}${fraction === '' ? '' : `.${fraction}`}`;
}

/** The map that GNU tar writes: every fragment, and one of length 0 at the end when the file ends in a hole. */
function sparseMap(entry: TarEntry): Fragment[] {
  const map = [...contentFragments(entry.content)];
  const size = contentSize(entry.content);
  // GNU tar pads each fragment to a block where it reads, and has only whole blocks but for the file's end where it
  // writes; Go takes them one straight after the other. Both read whole blocks.
  if (map.some(({ offset, length }) => length % BLOCK !== 0 && offset + length < size)) {
    throw new Error('a fragment inside a sparse file is of whole blocks of 512 bytes');
  }
  const last = map.at(-1);
  if (last === undefined || last.offset + last.length < size) map.push({ offset: size, length: 0 });
  return map;
}

function sparseMapText(map: readonly Fragment[]): Buffer {
  return Buffer.from(`${map.length}\n${map.map(({ offset, length }) => `${offset}\n${length}\n`).join('')}`);
}

function sparseRecords(entry: TarEntry, map: readonly Fragment[]): [string, Bytes][] {
  const size = String(contentSize(entry.content));
  switch (entry.encoding?.sparse) {
    case 'pax-0.0':
      return [
        ['GNU.sparse.size', size],
        ['GNU.sparse.numblocks', String(map.length)],
        ...map.flatMap(({ offset, length }): [string, Bytes][] => [
          ['GNU.sparse.offset', String(offset)],
          ['GNU.sparse.numbytes', String(length)],
        ]),
      ];
    case 'pax-0.1':
      return [
        ['GNU.sparse.size', size],
        ['GNU.sparse.numblocks', String(map.length)],
        ['GNU.sparse.name', entry.path],
        ['GNU.sparse.map', map.map(({ offset, length }) => `${offset},${length}`).join(',')],
      ];
    default:
      return [
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.minor', '0'],
        ['GNU.sparse.name', entry.path],
        ['GNU.sparse.realsize', size],
      ];
  }
}

/** The name that GNU tar gives a sparse file for readers that do not know the form. */
function sparsePlaceholder(path: Buffer): Buffer {
  const slash = path.lastIndexOf(0x2f);
  return Buffer.concat([path.subarray(0, slash + 1), Buffer.from('GNUSparseFile.1/'), path.subarray(slash + 1)]);
}

/** Puts the first 4 fragments and the real size into an old GNU header; returns the extension blocks, 21 fragments each. */
function writeGnuSparseMap(header: Buffer, map: readonly Fragment[], size: number): Buffer[] {
  const write = (block: Buffer, at: number, fragment: Fragment) => {
    putNumber(block, [at, 12], BigInt(fragment.offset), 'gnu', 'octal');
    putNumber(block, [at + 12, 12], BigInt(fragment.length), 'gnu', 'octal');
  };
  map.slice(0, 4).forEach((fragment, index) => {
    write(header, 386 + index * 24, fragment);
  });
  putNumber(header, [483, 12], BigInt(size), 'gnu', 'octal');
  header[482] = map.length > 4 ? 1 : 0;
  const blocks: Buffer[] = [];
  for (let from = 4; from < map.length; from += 21) {
    const block = Buffer.alloc(BLOCK);
    map.slice(from, from + 21).forEach((fragment, index) => {
      write(block, index * 24, fragment);
    });
    block[504] = map.length > from + 21 ? 1 : 0;
    blocks.push(block);
  }
  return blocks;
}

function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

function paddedToBlock(body: Buffer): Buffer {
  return Buffer.concat([body, padding(body.length)]);
}

function isAscii(bytes: Buffer): boolean {
  return bytes.every((byte) => byte > 0 && byte < 128);
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value < 0n && quotient * by !== value ? quotient - 1n : quotient;
}
