/** Text is written as UTF-8; a Buffer byte for byte, so that names need not be text. */
export type Bytes = string | Buffer;

export type EntryType = 'file' | 'link' | 'symlink' | 'character-device' | 'block-device' | 'directory' | 'fifo';

/** A range of bytes of a file. */
export interface Fragment {
  readonly offset: number;
  readonly length: number;
}

/** Content made on demand, so that a file of gigabytes needs no memory. */
export interface GeneratedContent {
  /** Bytes of the whole file. */
  readonly size: number;
  /** The bytes of a range; asked for in any order, and the same each time. */
  read(offset: number, length: number): Buffer;
  /** Where bytes other than zero may be, in order, not touching; the whole file when not given. */
  readonly fragments?: readonly Fragment[];
}

export type Content = Buffer | GeneratedContent;

/**
 * An entry of a layer: what it means (all but `encoding`), and how its bytes in the tar are written (`encoding`).
 * The tar writer makes the bytes, the OCI model gives them their meaning; both start from this one statement.
 */
export interface TarEntry {
  /** As it stands in the tar: with `./`, `/`, a trailing `/` or none of them. */
  readonly path: Bytes;
  readonly type: EntryType;
  /** Permission bits with setuid, setgid and sticky (07777). Default 0755 for directories, 0644 for the rest. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Nanoseconds since 1970; negative before. */
  readonly mtime?: bigint;
  /** Target of a symlink or of a hard link. */
  readonly target?: Bytes;
  readonly deviceMajor?: number;
  readonly deviceMinor?: number;
  /** Extended attributes by full name (`security.capability`). */
  readonly xattrs?: readonly (readonly [name: string, value: Buffer])[];
  readonly content?: Content;
  readonly encoding?: Encoding;
}

export type TarFormat = 'v7' | 'ustar' | 'gnu' | 'pax';
export type SparseFormat = 'gnu' | 'pax-0.0' | 'pax-0.1' | 'pax-1.0';
export type PaxRecordName = 'path' | 'linkpath' | 'size' | 'mtime' | 'uid' | 'gid';
export type HeaderField = keyof typeof headerFields;

/** Offsets and lengths of the fields of a header block, in bytes (POSIX.1-2017 pax, "ustar Interchange Format"). */
export const headerFields = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  typeFlag: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  userName: [265, 32],
  groupName: [297, 32],
  deviceMajor: [329, 8],
  deviceMinor: [337, 8],
  prefix: [345, 155],
} as const;

/** How an entry is written. Everything has the default of a modern writer: PAX, records only where they are needed. */
export interface Encoding {
  readonly format?: TarFormat;
  /** How numbers stand in the header: zeros, octal and NUL; spaces, octal and a space, as the oldest tars wrote it; or GNU's base-256 even where octal fits. */
  readonly numbers?: 'octal' | 'octal-space' | 'base-256';
  /** Writes only the content's fragments, with a map of where they go. */
  readonly sparse?: SparseFormat;
  /** Instead of the type's own, such as `\0` or `7` for a file. */
  readonly typeFlag?: string;
  /** PAX records to write even where the header has room for the value. */
  readonly forcedRecords?: readonly PaxRecordName[];
  /** PAX records besides those that the entry needs, written last; repeated keys and broken values are allowed. */
  readonly extraRecords?: readonly (readonly [key: string, value: Bytes])[];
  /** Size that the header states, for an entry whose size is not that of its content. */
  readonly claimedSize?: number;
  /** Raw bytes put over the start of a field, before the checksum is taken. */
  readonly fields?: Partial<Record<HeaderField, Buffer>>;
  /** `signed`: the sum of signed bytes, as old Sun tars wrote it. `wrong`: one too many. */
  readonly checksum?: 'unsigned' | 'signed' | 'wrong';
}

export function bytesOf(value: Bytes): Buffer {
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
}

export function contentSize(content: Content | undefined): number {
  if (content === undefined) return 0;
  return Buffer.isBuffer(content) ? content.length : content.size;
}

export function contentFragments(content: Content | undefined): readonly Fragment[] {
  const size = contentSize(content);
  if (content !== undefined && !Buffer.isBuffer(content) && content.fragments !== undefined) return content.fragments;
  return size === 0 ? [] : [{ offset: 0, length: size }];
}

export function readContent(content: Content, offset: number, length: number): Buffer {
  return Buffer.isBuffer(content) ? content.subarray(offset, offset + length) : content.read(offset, length);
}
