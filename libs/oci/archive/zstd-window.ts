/**
 * Bytes. zstd itself takes 128 MiB (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`, 27), which fzstd would decompress to other bytes: of the distance to what
 * is repeated, it reads no more than 25 bits beside the leading one, so that 64 MiB is the farthest that it gets right.
 */
export const ZSTD_WINDOW_LIMIT = 64 * 1024 * 1024;

const FRAME_MAGIC = 0xfd2fb528;
/** The low four bits may have any value. */
const SKIPPABLE_MAGIC = 0x184d2a50;
/** Bytes of the dictionary ID and of the content size, by the frame header descriptor's flags. */
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const RUN_LENGTH_BLOCK = 1;

/**
 * Follows zstd data from frame to frame and from block to block (RFC 8878, 3.1) as it arrives, without decompressing it, so that the
 * memory that a decompressor would allocate is known beforehand. Anything that is not zstd is left for the decompressor to reject.
 */
export class ZstdWindows {
  #largest = 0;
  #skip = 0;
  #field: Uint8Array = new Uint8Array(0);
  #length = 4;
  #take: (field: Buffer) => void = (field) => this.#magic(field);
  #hasChecksum = false;

  /** @returns bytes of the largest window that any frame has asked for so far */
  push(chunk: Uint8Array): number {
    for (let at = 0; at < chunk.length; ) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at);
        this.#skip -= skipped;
        at += skipped;
        continue;
      }
      const part = chunk.subarray(at, at + this.#length - this.#field.length);
      at += part.length;
      this.#field = this.#field.length === 0 ? part : Buffer.concat([this.#field, part]);
      if (this.#field.length === this.#length) this.#takeField();
    }
    // A copy, since the caller may reuse the chunk.
    this.#field = Uint8Array.from(this.#field);
    return this.#largest;
  }

  #takeField(): void {
    const { buffer, byteOffset, length } = this.#field;
    this.#field = new Uint8Array(0);
    this.#take(Buffer.from(buffer, byteOffset, length));
  }

  #expect(length: number, take: (field: Buffer) => void): void {
    this.#length = length;
    this.#take = take;
  }

  #expectFrame(): void {
    this.#expect(4, (field) => this.#magic(field));
  }

  #magic(field: Buffer): void {
    const magic = field.readUInt32LE();
    if (magic === FRAME_MAGIC) this.#expect(1, (descriptor) => this.#descriptor(descriptor.readUInt8()));
    else if (magic >>> 4 === SKIPPABLE_MAGIC >>> 4) {
      this.#expect(4, (size) => {
        this.#skip = size.readUInt32LE();
        this.#expectFrame();
      });
    } else this.#skip = Number.POSITIVE_INFINITY;
  }

  #descriptor(descriptor: number): void {
    const isSingleSegment = (descriptor & 0x20) !== 0;
    const sizeFlag = descriptor >> 6;
    const sizeBytes = sizeFlag === 0 && isSingleSegment ? 1 : (CONTENT_SIZE_BYTES[sizeFlag] ?? 0);
    const sizeAt = (isSingleSegment ? 0 : 1) + (DICTIONARY_BYTES[descriptor & 3] ?? 0);
    this.#hasChecksum = (descriptor & 4) !== 0;
    this.#expect(sizeAt + sizeBytes, (header) => {
      // The window of a single segment is its whole content.
      const window = isSingleSegment ? contentSize(header.subarray(sizeAt)) : windowSize(header.readUInt8());
      this.#largest = Math.max(this.#largest, window);
      this.#expect(3, (block) => this.#block(block.readUIntLE(0, 3)));
    });
  }

  #block(header: number): void {
    const isLast = (header & 1) !== 0;
    this.#skip = ((header >> 1) & 3) === RUN_LENGTH_BLOCK ? 1 : header >> 3;
    if (!isLast) return;
    this.#skip += this.#hasChecksum ? 4 : 0;
    this.#expectFrame();
  }
}

/** Window_Descriptor: 3.1.1.1.2. */
function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

/** Frame_Content_Size: 3.1.1.1.4. */
function contentSize(field: Buffer): number {
  if (field.length === 1) return field.readUInt8();
  if (field.length === 2) return field.readUInt16LE() + 256;
  return field.length === 4 ? field.readUInt32LE() : Number(field.readBigUInt64LE());
}
