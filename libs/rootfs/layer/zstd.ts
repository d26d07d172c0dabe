import { type Duplex, Transform } from 'node:stream';
import { Decompress } from 'fzstd';

/**
 * A zstd decompressor as a stream (RFC 8878), concatenated frames included. Node 20 has none of its own and the
 * native packages need install scripts, so this is fzstd: plain JavaScript, several times slower than gzip's inflate.
 */
export function createZstdDecompress(): Duplex {
  let push: (chunk: Uint8Array) => void = () => {};
  const decompress = new Decompress((chunk) => push(chunk));
  const guarded = (chunk: Uint8Array, final: boolean, callback: (error?: Error | null) => void) => {
    try {
      decompress.push(chunk, final);
    } catch (error) {
      callback(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    callback();
  };
  const stream = new Transform({
    transform: (chunk: Buffer, _encoding, callback) => guarded(chunk, false, callback),
    flush: (callback) => guarded(new Uint8Array(0), true, callback),
  });
  push = (chunk) => {
    if (chunk.length > 0) stream.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
  };
  return stream;
}
