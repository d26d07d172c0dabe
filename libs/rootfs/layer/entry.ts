export type EntryType = 'file' | 'link' | 'symlink' | 'character-device' | 'block-device' | 'directory' | 'fifo';

/**
 * The runs of a file's blocks that are not all zeros, in order, as three numbers each: the first block in the file, in units of 4096
 * bytes; the first block in the layer's data file; the number of blocks. Everything outside the runs is zeros. As a list of lists, the
 * 655,000 runs of a file of 5 GiB with zeros in every other block took 118 bytes each.
 */
export type DataRuns = readonly number[];

/**
 * One entry of a layer, as its tar states it. Names, targets and attribute values are byte strings: one character
 * (U+0000 to U+00FF) per byte, so that names that are not UTF-8 survive; V8 stores these with one byte per character.
 */
export interface LayerEntry {
  readonly type: EntryType;
  /** Components joined by `/`, without a leading one; '' is the root. Never contains `.` or `..`. */
  readonly path: string;
  /** Permission bits with setuid, setgid and sticky (07777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970 (negative before), to which the nanoseconds (0 to 999,999,999) are added. */
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** Bytes of a regular file; 0 for everything else. */
  readonly size: number;
  readonly runs: DataRuns;
  /** Target of a symlink (any text) or of a hard link (a path of the same form as `path`). */
  readonly target: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Extended attributes by full name (`security.capability`), sorted. `SCHILY.acl.access` and `.default` mean that there was an ACL in text form. */
  readonly xattrs: readonly (readonly [name: string, value: string])[];
}

const types: readonly EntryType[] = [
  'file',
  'link',
  'symlink',
  'character-device',
  'block-device',
  'directory',
  'fifo',
];
const typeCodes = 'flscbdp';

type Row = readonly [
  code: string,
  path: string,
  mode: number,
  uid: number,
  gid: number,
  mtimeSeconds: number,
  mtimeNanoseconds: number,
  size: number,
  runs: DataRuns,
  target: string,
  deviceMajor: number,
  deviceMinor: number,
  xattrs: LayerEntry['xattrs'],
];
const ROW_LENGTH = 13;

/** Without zod, which copies what it validates, and took as long as the rest of reading an index, and as much memory. */
function isRow(row: unknown): row is Row {
  if (!Array.isArray(row) || row.length !== ROW_LENGTH) return false;
  const [code, path, mode, uid, gid, seconds, nanoseconds, size, runs, target, major, minor, xattrs]: unknown[] = row;
  return (
    typeof code === 'string' &&
    typeof path === 'string' &&
    typeof target === 'string' &&
    isCount(mode) &&
    isCount(uid) &&
    isCount(gid) &&
    Number.isSafeInteger(seconds) &&
    isCount(nanoseconds) &&
    isCount(size) &&
    isCount(major) &&
    isCount(minor) &&
    isRuns(runs) &&
    isXattrs(xattrs)
  );
}

function isRuns(list: unknown): boolean {
  return Array.isArray(list) && list.length % 3 === 0 && list.every(isCount);
}

function isXattrs(list: unknown): boolean {
  return Array.isArray(list) && list.every((item) => Array.isArray(item) && item.length === 2 && item.every(isString));
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isString(value: unknown): boolean {
  return typeof value === 'string';
}

/**
 * One line of a layer's index, without the line break: JSON, one character per byte. The runs are a parameter of their own, since copying
 * each entry to add them took a quarter of the time of decoding small files.
 */
export function formatEntry(entry: Omit<LayerEntry, 'runs'>, runs: LayerEntry['runs']): string {
  return JSON.stringify([
    typeCodes.charAt(types.indexOf(entry.type)),
    entry.path,
    entry.mode,
    entry.uid,
    entry.gid,
    entry.mtimeSeconds,
    entry.mtimeNanoseconds,
    entry.size,
    runs,
    entry.target,
    entry.deviceMajor,
    entry.deviceMinor,
    entry.xattrs,
  ]);
}

/** The entry in a parsed line of the index; undefined when it is malformed. */
export function parseEntry(row: unknown): LayerEntry | undefined {
  if (!isRow(row)) return undefined;
  const [code, path, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, size, runs, target, major, minor, xattrs] = row;
  const type = code.length === 1 ? types[typeCodes.indexOf(code)] : undefined;
  if (type === undefined) return undefined;
  return {
    type,
    path,
    mode,
    uid,
    gid,
    mtimeSeconds,
    mtimeNanoseconds,
    size,
    runs,
    target,
    deviceMajor: major,
    deviceMinor: minor,
    xattrs,
  };
}
