import { crc32c } from './crc32c.ts';
import type { HashSeed } from './directory-hash.ts';

/** Bytes of a superblock, and the offset of the first one. */
export const SUPERBLOCK_SIZE = 1024;
export const SUPERBLOCK_OFFSET = 1024;

const MAGIC = 0xef53;
const SIGNED_HASH = 1;

/** The superblock that mke2fs wrote; changes are made in its bytes. */
export class Superblock {
  readonly #bytes: Buffer;
  readonly inodes: number;
  readonly blocks: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  readonly descriptorSize: number;
  readonly reservedDescriptorBlocks: number;
  readonly hashSeed: HashSeed;
  /** The seed of all checksums in the file system. */
  readonly checksumSeed: number;

  constructor(bytes: Buffer) {
    if (bytes.readUInt16LE(56) !== MAGIC) throw new Error('mke2fs left no ext4 superblock');
    this.#bytes = bytes;
    this.inodes = bytes.readUInt32LE(0);
    this.blocks = bytes.readUInt32LE(4) + bytes.readUInt32LE(336) * 2 ** 32;
    this.blocksPerGroup = bytes.readUInt32LE(32);
    this.inodesPerGroup = bytes.readUInt32LE(40);
    this.reservedDescriptorBlocks = bytes.readUInt16LE(206);
    this.descriptorSize = bytes.readUInt16LE(254);
    this.hashSeed = [
      bytes.readUInt32LE(236),
      bytes.readUInt32LE(240),
      bytes.readUInt32LE(244),
      bytes.readUInt32LE(248),
    ];
    this.checksumSeed = crc32c(0xffff_ffff, bytes.subarray(104, 120));
  }

  get groups(): number {
    return Math.ceil(this.blocks / this.blocksPerGroup);
  }

  /** Whether a group has a copy of the superblock and the descriptors: 0, 1 and the powers of 3, 5 and 7 (sparse_super). */
  hasBackup(group: number): boolean {
    return group <= 1 || [3, 5, 7].some((base) => isPower(group, base));
  }

  setFree(blocks: number, inodes: number): void {
    this.#bytes.writeUInt32LE(blocks % 2 ** 32, 12);
    this.#bytes.writeUInt32LE(Math.floor(blocks / 2 ** 32), 344);
    this.#bytes.writeUInt32LE(inodes, 16);
    // Names are hashed as signed bytes here, whatever the host of mke2fs uses.
    this.#bytes.writeUInt32LE(SIGNED_HASH, 352);
  }

  /** The bytes of a group's copy, including its checksum. */
  copyFor(group: number): Buffer {
    const copy = Buffer.from(this.#bytes);
    // The field has 16 bits; e2fsprogs caps the number in the same way.
    copy.writeUInt16LE(Math.min(group, 0xffff), 90);
    copy.writeUInt32LE(crc32c(0xffff_ffff, copy, 0, SUPERBLOCK_SIZE - 4), SUPERBLOCK_SIZE - 4);
    return copy;
  }
}

function isPower(number: number, base: number): boolean {
  let power = base;
  while (power < number) power *= base;
  return power === number;
}
