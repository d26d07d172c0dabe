const ZSTD_BLOCK = 128 * 1024;

/**
 * A zstd frame of raw blocks (RFC 8878, 3.1.1): valid for every decoder, though not smaller. Node 20 has no zstd of its own,
 * and tests of this kind want its frames, not its ratio.
 */
export function zstdFrame(bytes: Buffer): Buffer {
  // Magic number; a frame header without content size and checksum; a window of 128 KiB.
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38])];
  for (let offset = 0; offset === 0 || offset < bytes.length; offset += ZSTD_BLOCK) {
    const block = bytes.subarray(offset, offset + ZSTD_BLOCK);
    const isLast = offset + ZSTD_BLOCK >= bytes.length;
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (isLast ? 1 : 0), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}
