import { RootfsError } from '../error.ts';

/** Bytes of a tar header, and of the blocks to which everything in a tar is padded (POSIX.1-2017 pax, "ustar Interchange Format"). */
export const TAR_BLOCK = 512;

const NAME = { offset: 0, length: 100 } as const;
const MODE = { offset: 100, length: 8 } as const;
const UID = { offset: 108, length: 8 } as const;
const GID = { offset: 116, length: 8 } as const;
const SIZE = { offset: 124, length: 12 } as const;
const TIME = { offset: 136, length: 12 } as const;
const CHECKSUM = { offset: 148, length: 8 } as const;
const TYPE_OFFSET = 156;
const TARGET = { offset: 157, length: 100 } as const;
const MAGIC = { offset: 257 } as const;
const DEVICE_MAJOR = { offset: 329, length: 8 } as const;
const DEVICE_MINOR = { offset: 337, length: 8 } as const;
const PREFIX = { offset: 345, length: 155 } as const;
const STAR_PREFIX_LENGTH = 131;
const STAR_TRAILER = { offset: 508, text: 'tar\0' } as const;
const GNU_ACCESS_TIME = { offset: 345, length: 12 } as const;
const GNU_CHANGE_TIME = { offset: 357, length: 12 } as const;
const USTAR = 'ustar\0';
const GNU = 'ustar  \0';
const SPACE = 0x20;
const DIGIT_0 = 0x30;

const CHARACTER_DEVICE = '3';
const BLOCK_DEVICE = '4';

/** What a header says about its entry, except for its names and its size. */
export interface TarHeader {
  /** One character: `0` a file, `1` a hard link, `2` a symlink, `3` and `4` devices, `5` a directory, `6` a fifo. */
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtimeSeconds: number;
  /** 0 unless it is a device. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** Types that have no content, whatever their size field says: links, devices, directories, fifos. */
const CONTENTLESS = '123456';

export function isZeroBlock(header: Buffer): boolean {
  return header.every((byte) => byte === 0);
}

/** The type of an entry, one character. */
export function tarType(header: Buffer): string {
  return header.toString('latin1', TYPE_OFFSET, TYPE_OFFSET + 1);
}

export function isContentless(type: string): boolean {
  return CONTENTLESS.includes(type);
}

/** A string in a header, up to a NUL or the end of its field, as a byte string. */
export function tarString(header: Buffer, offset: number, length: number): string {
  const end = header.indexOf(0, offset);
  return header.toString('latin1', offset, end < 0 ? offset + length : Math.min(end, offset + length));
}

/**
 * A number in a header: octal digits surrounded by spaces and NULs, or base 256 when the first byte's top bit is set (GNU tar manual,
 * "Extensions"). Parsed byte by byte: with a string and a regular expression, it took 0.1 s for the 27,000 entries of `python:3.12`.
 *
 * @throws RootfsError `layer_corrupt` when it is malformed, or not a safe integer
 */
export function tarNumber(header: Buffer, offset: number, length: number): number {
  const first = header[offset] ?? 0;
  const value = first & 0x80 ? base256(header, offset, length) : octal(header, offset, offset + length);
  if (!Number.isSafeInteger(value))
    throw new RootfsError('layer_corrupt', 'the layer has a tar header with an invalid number');
  return value;
}

function base256(header: Buffer, offset: number, length: number): number {
  const first = header[offset] ?? 0;
  let value = first === 0xff ? -1 : first & 0x7f;
  for (let i = offset + 1; i < offset + length; i++) value = value * 256 + (header[i] ?? 0);
  return value;
}

/** NaN when anything other than digits and spaces precedes the final NUL; 0 when there are no digits. */
function octal(header: Buffer, from: number, to: number): number {
  let at = from;
  while (at < to && (header[at] === SPACE || header[at] === 0)) at++;
  let value = 0;
  for (; at < to && isOctalDigit(header[at]); at++) value = value * 8 + (header[at] ?? 0) - DIGIT_0;
  while (at < to && header[at] === SPACE) at++;
  return at === to || header[at] === 0 ? value : Number.NaN;
}

function isOctalDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= DIGIT_0 && byte < DIGIT_0 + 8;
}

/** Parses a header. @throws RootfsError `layer_corrupt` when one of its numbers is malformed */
export function tarHeader(header: Buffer, type: string): TarHeader {
  const number = ({ offset, length }: { offset: number; length: number }) => tarNumber(header, offset, length);
  // The oldest format has no device numbers: these bytes may be anything.
  const isDevice = (type === CHARACTER_DEVICE || type === BLOCK_DEVICE) && textAt(header, MAGIC.offset, 'ustar');
  return {
    type,
    mode: number(MODE),
    uid: number(UID),
    gid: number(GID),
    mtimeSeconds: number(TIME),
    deviceMajor: isDevice ? number(DEVICE_MAJOR) : 0,
    deviceMinor: isDevice ? number(DEVICE_MINOR) : 0,
  };
}

/** Bytes of content that follow the header. @throws RootfsError `layer_corrupt` */
export function tarSize(header: Buffer): number {
  const size = tarNumber(header, SIZE.offset, SIZE.length);
  if (size < 0) throw new RootfsError('layer_corrupt', 'the layer has a tar entry of negative size');
  return size;
}

/** Whether the header's checksum is right; some old writers summed signed bytes. */
export function checksumHolds(header: Buffer): boolean {
  const stated = Number.parseInt(tarString(header, CHECKSUM.offset, CHECKSUM.length).trim(), 8);
  const sum = checksum(header);
  return stated === sum || stated === sum - 256 * highBytes(header);
}

/** The name in a header itself, as a byte string; in the formats of ustar and star, it may have a prefix. */
export function tarName(header: Buffer): string {
  const name = tarString(header, NAME.offset, NAME.length);
  const prefix = header[PREFIX.offset] === 0 ? '' : tarPrefix(header);
  return prefix === '' ? name : `${prefix}/${name}`;
}

function tarPrefix(header: Buffer): string {
  if (textAt(header, MAGIC.offset, USTAR)) {
    const isStar = textAt(header, STAR_TRAILER.offset, STAR_TRAILER.text);
    return tarString(header, PREFIX.offset, isStar ? STAR_PREFIX_LENGTH : PREFIX.length);
  }
  return textAt(header, MAGIC.offset, GNU) ? oldGoPrefix(header) : '';
}

/**
 * Go before 1.8, and so Docker of that time, wrote a prefix even into headers of GNU's format, which has two times in its place. As in
 * Go's archive/tar since then, it counts as a prefix where these times are malformed, and it is ASCII.
 */
function oldGoPrefix(header: Buffer): string {
  if (isTime(header, GNU_ACCESS_TIME) && isTime(header, GNU_CHANGE_TIME)) return '';
  const prefix = tarString(header, PREFIX.offset, PREFIX.length);
  return /[\x80-\xff]/.test(prefix) ? '' : prefix;
}

function isTime(header: Buffer, { offset, length }: { offset: number; length: number }): boolean {
  const first = header[offset] ?? 0;
  return first === 0 || first >= 0x80 || !Number.isNaN(octal(header, offset, offset + length));
}

function textAt(header: Buffer, offset: number, text: string): boolean {
  return header.toString('latin1', offset, offset + text.length) === text;
}

/** The link target in a header itself, as a byte string. */
export function tarTarget(header: Buffer): string {
  return tarString(header, TARGET.offset, TARGET.length);
}

/** The sum of the header's bytes, with spaces in place of the checksum. */
function checksum(header: Buffer): number {
  let sum = CHECKSUM.length * SPACE;
  for (let i = 0; i < CHECKSUM.offset; i++) sum += header[i] ?? 0;
  for (let i = CHECKSUM.offset + CHECKSUM.length; i < TAR_BLOCK; i++) sum += header[i] ?? 0;
  return sum;
}

/** How many of these bytes would be negative if they were signed. */
function highBytes(header: Buffer): number {
  let count = 0;
  for (let i = 0; i < TAR_BLOCK; i++)
    if (i < CHECKSUM.offset || i >= CHECKSUM.offset + CHECKSUM.length) count += (header[i] ?? 0) >> 7;
  return count;
}
