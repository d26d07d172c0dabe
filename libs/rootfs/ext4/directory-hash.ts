/** Rotates a 32-bit number to the left. */
function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** The superblock's hash seed, four words. */
export type HashSeed = readonly [number, number, number, number];

/** For each step of a round: the word it adds, and the bits it rotates by. */
const ORDER_1 = [0, 1, 2, 3, 4, 5, 6, 7];
const ORDER_2 = [1, 3, 5, 7, 0, 2, 4, 6];
const ORDER_3 = [3, 7, 2, 6, 1, 5, 0, 4];
const SHIFTS_1 = [3, 7, 11, 19];
const SHIFTS_2 = [3, 5, 9, 13];
const SHIFTS_3 = [3, 9, 11, 15];
const NO_SEED: HashSeed = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const K2 = 0x5a82_7999;
const K3 = 0x6ed9_eba1;

/** Working memory, reused so that hashing 500,000 names produces no garbage. */
const state = new Int32Array(4);
const words = new Int32Array(8);

/**
 * Half MD4 of the name `bytes[from, to)`, the hash by which ext4 orders the names of an indexed directory (the kernel's
 * fs/ext4/hash.c, `half_md4_transform`): three rounds of MD4, eight steps each, over eight words at a time. Bytes are signed, as
 * the superblock's flag says. The lowest bit is always 0: in the index, it marks a hash that continues from the previous block.
 */
export function halfMd4(bytes: Uint8Array, from: number, to: number, seed: HashSeed): number {
  hashName(bytes, from, to, seed);
  const hash = ((state[1] ?? 0) & ~1) >>> 0;
  // The largest hash marks the end of the directory, so no name may have it.
  return hash === 0xffff_fffe ? 0xffff_fffc : hash;
}

/** The "minor hash", by which names of the same hash are ordered. */
export function halfMd4Minor(name: Uint8Array, seed: HashSeed): number {
  hashName(name, 0, name.length, seed);
  return (state[2] ?? 0) >>> 0;
}

function hashName(bytes: Uint8Array, from: number, to: number, seed: HashSeed): void {
  state.set(seed.every((word) => word === 0) ? NO_SEED : seed);
  for (let at = from; at < to; at += 32) {
    takeWords(bytes, at, to);
    transform();
  }
}

/** Eight words from the name's bytes at `at`, padded with its length (`str2hashbuf_signed`). */
function takeWords(bytes: Uint8Array, at: number, to: number): void {
  const left = to - at;
  const length = Math.min(left, 32);
  let pad = left | (left << 8);
  pad |= pad << 16;
  words.fill(pad);
  let value = pad;
  for (let i = 0; i < length; i++) {
    const byte = bytes[at + i] ?? 0;
    value = ((byte << 24) >> 24) + (value << 8);
    words[i >> 2] = value;
    if (i % 4 === 3) value = pad;
  }
}

function transform(): void {
  let a = state[0] ?? 0;
  let b = state[1] ?? 0;
  let c = state[2] ?? 0;
  let d = state[3] ?? 0;
  for (let i = 0; i < 8; i++) {
    const next = rotate((a + (d ^ (b & (c ^ d))) + (words[ORDER_1[i] ?? 0] ?? 0)) | 0, SHIFTS_1[i % 4] ?? 0);
    a = d;
    d = c;
    c = b;
    b = next;
  }
  for (let i = 0; i < 8; i++) {
    const mixed = ((b & c) + ((b ^ c) & d)) | 0;
    const next = rotate((a + mixed + (words[ORDER_2[i] ?? 0] ?? 0) + K2) | 0, SHIFTS_2[i % 4] ?? 0);
    a = d;
    d = c;
    c = b;
    b = next;
  }
  for (let i = 0; i < 8; i++) {
    const next = rotate((a + (b ^ c ^ d) + (words[ORDER_3[i] ?? 0] ?? 0) + K3) | 0, SHIFTS_3[i % 4] ?? 0);
    a = d;
    d = c;
    c = b;
    b = next;
  }
  state[0] = (state[0] ?? 0) + a;
  state[1] = (state[1] ?? 0) + b;
  state[2] = (state[2] ?? 0) + c;
  state[3] = (state[3] ?? 0) + d;
}
