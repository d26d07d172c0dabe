import { crc32c, crc32cWord } from './crc32c.ts';

const INODE_UNINIT = 0x1;
const BLOCK_UNINIT = 0x2;
const INODE_ZEROED = 0x4;

/** A view on one block group's descriptor of 64 bytes (kernel documentation, "Block Group Descriptors"). */
export class GroupDescriptor {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get blockBitmap(): number {
    return this.#bytes.readUInt32LE(0) + this.#bytes.readUInt32LE(32) * 2 ** 32;
  }

  get inodeBitmap(): number {
    return this.#bytes.readUInt32LE(4) + this.#bytes.readUInt32LE(36) * 2 ** 32;
  }

  get inodeTable(): number {
    return this.#bytes.readUInt32LE(8) + this.#bytes.readUInt32LE(40) * 2 ** 32;
  }

  /** The block bitmap was not written: only the group's own metadata is in use. */
  get blocksUninitialized(): boolean {
    return (this.#flags & BLOCK_UNINIT) !== 0;
  }

  get #flags(): number {
    return this.#bytes.readUInt16LE(18);
  }

  setBlocks(free: number, bitmapChecksum: number): void {
    this.#writeHalves(12, 44, free);
    this.#writeHalves(24, 56, bitmapChecksum);
    this.#bytes.writeUInt16LE(this.#flags & ~BLOCK_UNINIT, 18);
  }

  setInodes(free: number, directories: number, unused: number, bitmapChecksum: number): void {
    this.#writeHalves(14, 46, free);
    this.#writeHalves(16, 48, directories);
    this.#writeHalves(28, 50, unused);
    this.#writeHalves(26, 58, bitmapChecksum);
    this.#bytes.writeUInt16LE(this.#flags & ~INODE_UNINIT, 18);
  }

  /** Marks the inode table as zeroed, since it is a hole of a new file and the kernel need not do it in the sandbox; adds the checksum. */
  finish(group: number, fileSystemSeed: number): void {
    this.#bytes.writeUInt16LE(this.#flags | INODE_ZEROED, 18);
    this.#bytes.writeUInt16LE(0, 30);
    const checksum = crc32c(crc32cWord(fileSystemSeed, group), this.#bytes);
    this.#bytes.writeUInt16LE(checksum & 0xffff, 30);
  }

  #writeHalves(low: number, high: number, value: number): void {
    this.#bytes.writeUInt16LE(value & 0xffff, low);
    this.#bytes.writeUInt16LE(value >>> 16, high);
  }
}
