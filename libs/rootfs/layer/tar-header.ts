import { RootfsError } from '../error.ts';

/** Bytes of a tar header, and the unit to which everything in a tar is padded (POSIX.1-2017 pax, "ustar Interchange Format"). */
export const TAR_BLOCK = 512;

const NAME = { offset: 0, length: 100 } as const;
const SIZE = { offset: 124, length: 12 } as const;
const TIME = { offset: 136, length: 12 } as const;
const CHECKSUM = { offset: 148, length: 8 } as const;
const TYPE_OFFSET = 156;
const TARGET = { offset: 157, length: 100 } as const;
const MAGIC = { offset: 257 } as const;
const PREFIX = { offset: 345, length: 155 } as const;
const USTAR = 'ustar\0';

/** Types without content, whatever their size field says: links, devices, directories, fifos. */
const CONTENTLESS = '123456';

export function isZeroBlock(header: Buffer): boolean {
  return header.every((byte) => byte === 0);
}

/** The one character that says what an entry is. */
export function tarType(header: Buffer): string {
  return header.toString('latin1', TYPE_OFFSET, TYPE_OFFSET + 1);
}

export function isContentless(type: string): boolean {
  return CONTENTLESS.includes(type);
}

/** A NUL-terminated string of a header, as bytes. */
export function tarString(header: Buffer, offset: number, length: number): string {
  const end = header.indexOf(0, offset);
  return header.toString('latin1', offset, end < 0 ? offset + length : Math.min(end, offset + length));
}

/**
 * A number of a header: octal digits, or base-256 when the first byte's top bit is set (GNU tar manual, "Extensions").
 *
 * @throws RootfsError `layer_corrupt` when it is neither, or not exact in a JavaScript number
 */
export function tarNumber(header: Buffer, offset: number, length: number): number {
  const first = header[offset] ?? 0;
  let value: number;
  if (first & 0x80) {
    const negative = first === 0xff;
    value = negative ? -1 : first & 0x7f;
    for (let i = offset + 1; i < offset + length; i++) value = value * 256 + (header[i] ?? 0);
  } else {
    const digits = tarString(header, offset, length).trim();
    value = digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
  }
  if (!Number.isSafeInteger(value))
    throw new RootfsError('layer_corrupt', 'the layer has a tar header with a number that is none');
  return value;
}

/** Bytes of content that follow the header. */
export function tarSize(header: Buffer): number {
  const size = tarNumber(header, SIZE.offset, SIZE.length);
  if (size < 0) throw new RootfsError('layer_corrupt', 'the layer has a tar entry of negative size');
  return size;
}

/** Seconds since 1970. */
export function tarTime(header: Buffer): number {
  return tarNumber(header, TIME.offset, TIME.length);
}

/** Whether the header's checksum holds; some old writers summed signed bytes. */
export function checksumHolds(header: Buffer): boolean {
  const stated = Number.parseInt(tarString(header, CHECKSUM.offset, CHECKSUM.length).trim(), 8);
  const { unsigned, signed } = checksums(header);
  return stated === unsigned || stated === signed;
}

/** The name in a header itself, as bytes: in the ustar format a prefix goes before it. */
export function tarName(header: Buffer): string {
  const name = tarString(header, NAME.offset, NAME.length);
  if (header.toString('latin1', MAGIC.offset, MAGIC.offset + USTAR.length) !== USTAR) return name;
  const prefix = tarString(header, PREFIX.offset, PREFIX.length);
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** The link target in a header itself, as bytes. */
export function tarTarget(header: Buffer): string {
  return tarString(header, TARGET.offset, TARGET.length);
}

/**
 * A ustar header with the entry's mode, owner, time and device numbers, the given type and size, no name (which is
 * kept elsewhere, byte for byte), and a true checksum.
 */
export function plainHeader(header: Buffer, type: string, size: number): Buffer {
  const copy = Buffer.from(header);
  copy.fill(0, NAME.offset, NAME.offset + NAME.length);
  copy.write('entry', NAME.offset, 'latin1');
  copy.fill(0, TARGET.offset, TARGET.offset + TARGET.length);
  copy.fill(0, PREFIX.offset, TAR_BLOCK);
  copy.write(`${USTAR}00`, MAGIC.offset, 'latin1');
  copy.write(type, TYPE_OFFSET, 'latin1');
  copy.fill(0, SIZE.offset, SIZE.offset + SIZE.length);
  copy[SIZE.offset] = 0x80;
  copy.writeUIntBE(size, SIZE.offset + SIZE.length - 6, 6);
  const { unsigned } = checksums(copy);
  copy.write(`${unsigned.toString(8).padStart(6, '0')}\0 `, CHECKSUM.offset, 'latin1');
  return copy;
}

function checksums(header: Buffer): { unsigned: number; signed: number } {
  let unsigned = 0;
  let high = 0;
  for (let i = 0; i < TAR_BLOCK; i++) {
    const byte = i >= CHECKSUM.offset && i < CHECKSUM.offset + CHECKSUM.length ? 0x20 : (header[i] ?? 0);
    unsigned += byte;
    high += byte >> 7;
  }
  return { unsigned, signed: unsigned - 256 * high };
}
