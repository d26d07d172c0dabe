/** Rotates a 32-bit number to the left. */
function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** The superblock's hash seed, four words. */
export type HashSeed = readonly [number, number, number, number];

const K2 = 0x5a82_7999;
const K3 = 0x6ed9_eba1;

/**
 * Half MD4, the hash by which ext4 orders the names of an indexed directory (the kernel's fs/ext4/hash.c,
 * `half_md4_transform`): three rounds of MD4, eight steps each, over eight words of name a time. Bytes count as
 * signed, as the superblock's flag says. The lowest bit is always 0: it marks a hash that goes on in the next block.
 */
export function halfMd4(name: Buffer, seed: HashSeed): number {
  const hash = (hashState(name, seed)[1] & ~1) >>> 0;
  // The end of the directory is the largest hash there is, which no name may have.
  return hash === 0xffff_fffe ? 0xffff_fffc : hash;
}

/** By which names of the same hash are ordered: the "minor hash". */
export function halfMd4Minor(name: Buffer, seed: HashSeed): number {
  return hashState(name, seed)[2] >>> 0;
}

function hashState(name: Buffer, seed: HashSeed): [number, number, number, number] {
  const state: [number, number, number, number] = seed.every((word) => word === 0)
    ? [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]
    : [seed[0], seed[1], seed[2], seed[3]];
  for (let at = 0; at < name.length; at += 32) transform(state, hashWords(name, at));
  return state;
}

/** Eight words from the name's bytes at `at`, padded with its length (`str2hashbuf_signed`). */
function hashWords(name: Buffer, at: number): number[] {
  const left = name.length - at;
  const length = Math.min(left, 32);
  let pad = left | (left << 8);
  pad |= pad << 16;
  const words: number[] = [];
  let value = pad;
  for (let i = 0; i < length; i++) {
    value = (name.readInt8(at + i) + (value << 8)) | 0;
    if (i % 4 === 3) {
      words.push(value);
      value = pad;
    }
  }
  if (words.length < 8) words.push(value);
  while (words.length < 8) words.push(pad);
  return words;
}

function transform(state: [number, number, number, number], words: readonly number[]): void {
  let [a, b, c, d] = state;
  const word = (i: number): number => words[i] ?? 0;
  const f = (x: number, y: number, z: number): number => z ^ (x & (y ^ z));
  const g = (x: number, y: number, z: number): number => ((x & y) + ((x ^ y) & z)) | 0;
  const h = (x: number, y: number, z: number): number => x ^ y ^ z;
  const round = (
    mix: (x: number, y: number, z: number) => number,
    constant: number,
    order: readonly number[],
    shifts: readonly number[],
  ) => {
    for (let i = 0; i < 8; i++) {
      const next = rotate((a + mix(b, c, d) + word(order[i] ?? 0) + constant) | 0, shifts[i % 4] ?? 0);
      [a, b, c, d] = [d, next, b, c];
    }
  };
  round(f, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]);
  round(g, K2, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]);
  round(h, K3, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]);
  state[0] = (state[0] + a) | 0;
  state[1] = (state[1] + b) | 0;
  state[2] = (state[2] + c) | 0;
  state[3] = (state[3] + d) | 0;
}
