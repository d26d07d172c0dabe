import { Transform } from 'node:stream';

/** The most that a block of a frame may hold: RFC 8878, 3.1.1.2.4. */
const BLOCK_MAX = 128 * 1024;
const FRAME_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
/** No checksum, no content size, a window of 1 MiB (exponent 10, mantissa 0). */
const FRAME_HEADER = Buffer.from([0x00, 0x50]);

/**
 * Wraps bytes in a zstd frame of raw blocks (RFC 8878), which every decoder reads: a zstd layer for tests where no
 * compressor is at hand.
 */
export function createStoredZstd(): Transform {
  let started = false;
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      if (!started) this.push(Buffer.concat([FRAME_MAGIC, FRAME_HEADER]));
      started = true;
      for (let at = 0; at < chunk.length; at += BLOCK_MAX) {
        const part = chunk.subarray(at, at + BLOCK_MAX);
        this.push(blockHeader(part.length, false));
        this.push(part);
      }
      callback();
    },
    flush(callback) {
      if (!started) this.push(Buffer.concat([FRAME_MAGIC, FRAME_HEADER]));
      this.push(blockHeader(0, true));
      callback();
    },
  });
}

function blockHeader(size: number, last: boolean): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE((size << 3) | (last ? 1 : 0), 0, 3);
  return header;
}
