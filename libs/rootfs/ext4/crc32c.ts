/** The Castagnoli polynomial, bit-reversed (RFC 3720, appendix B.4). */
const POLYNOMIAL = 0x82f63b78;

/** Eight tables, so that eight bytes take one step ("slicing by 8"). */
const TABLES = makeTables();

function makeTables(): Uint32Array[] {
  const first = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    return crc;
  });
  const tables = [first];
  for (let previous = first; tables.length < 8; ) {
    previous = previous.map((crc) => (crc >>> 8) ^ lookup(first, crc & 0xff));
    tables.push(previous);
  }
  return tables;
}

function lookup(table: Uint32Array, at: number): number {
  return table[at] ?? 0;
}

const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES;

/**
 * The CRC-32C of `bytes[from, to)` as ext4 uses it: it goes on from `seed`, and nothing is inverted at either end
 * (the kernel's `crc32c_le`). An unsigned 32-bit number.
 */
export function crc32c(seed: number, bytes: Uint8Array, from = 0, to = bytes.length): number {
  if (!T0 || !T1 || !T2 || !T3 || !T4 || !T5 || !T6 || !T7) throw new Error('no tables');
  let crc = seed;
  let at = from;
  const byte = (offset: number): number => bytes[offset] ?? 0;
  for (; at + 8 <= to; at += 8) {
    const low = crc ^ (byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16) | (byte(at + 3) << 24));
    crc =
      (T7[low & 0xff] ?? 0) ^
      (T6[(low >>> 8) & 0xff] ?? 0) ^
      (T5[(low >>> 16) & 0xff] ?? 0) ^
      (T4[low >>> 24] ?? 0) ^
      (T3[byte(at + 4)] ?? 0) ^
      (T2[byte(at + 5)] ?? 0) ^
      (T1[byte(at + 6)] ?? 0) ^
      (T0[byte(at + 7)] ?? 0);
  }
  for (; at < to; at++) crc = (crc >>> 8) ^ (T0[(crc ^ byte(at)) & 0xff] ?? 0);
  return crc >>> 0;
}

const word = new Uint8Array(4);

/** Goes on from `seed` over a 32-bit number in little-endian bytes. */
export function crc32cWord(seed: number, value: number): number {
  word[0] = value;
  word[1] = value >>> 8;
  word[2] = value >>> 16;
  word[3] = value >>> 24;
  return crc32c(seed, word);
}
