import { z } from 'zod';

export type EntryType = 'file' | 'link' | 'symlink' | 'character-device' | 'block-device' | 'directory' | 'fifo';

/**
 * A run of a file's blocks that hold something: `fileBlock` counts 4096-byte blocks from the start of the file,
 * `dataBlock` from the start of the layer's data file. What no run covers is zeros.
 */
export type DataRun = readonly [fileBlock: number, dataBlock: number, blocks: number];

/**
 * One entry of a layer, as its tar states it. Names, targets and attribute values are byte strings: one character
 * (U+0000 to U+00FF) a byte, so that names that are not UTF-8 survive, and V8 keeps them in one byte a character.
 */
export interface LayerEntry {
  readonly type: EntryType;
  /** Components joined by `/`, without a leading one; '' is the root. Never contains `.` or `..`. */
  readonly path: string;
  /** Permission bits with setuid, setgid and sticky (07777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, negative before, and nanoseconds 0 to 999,999,999 to add to them. */
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** Bytes of a regular file; 0 for everything else. */
  readonly size: number;
  readonly runs: readonly DataRun[];
  /** Target of a symlink (free text) or of a hard link (a path like `path`). */
  readonly target: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Extended attributes, full names (`security.capability`), sorted by name. */
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

const count = z.number().int().nonnegative();
const run = z.tuple([count, count, count]);
const row = z.tuple([
  z.string().length(1),
  z.string(),
  count,
  count,
  count,
  z.number().int(),
  count,
  count,
  z.array(run),
  z.string(),
  count,
  count,
  z.array(z.tuple([z.string(), z.string()])),
]);

/** One line of a layer's index, without the line break: JSON, every character a byte. */
export function formatEntry(entry: LayerEntry): string {
  return JSON.stringify([
    typeCodes.charAt(types.indexOf(entry.type)),
    entry.path,
    entry.mode,
    entry.uid,
    entry.gid,
    entry.mtimeSeconds,
    entry.mtimeNanoseconds,
    entry.size,
    entry.runs,
    entry.target,
    entry.deviceMajor,
    entry.deviceMinor,
    entry.xattrs,
  ]);
}

/** The entry in a line of the index. Throws when the line is not one. */
export function parseEntry(line: string): LayerEntry {
  const [code, path, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, size, runs, target, major, minor, xattrs] =
    row.parse(JSON.parse(line));
  const type = types[typeCodes.indexOf(code)];
  if (type === undefined) throw new Error(`unknown entry type ${code}`);
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
