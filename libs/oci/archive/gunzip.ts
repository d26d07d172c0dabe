import { createGunzip, type Gunzip } from 'node:zlib';

/** Each chunk passes through three generators; with zlib's default of 16 KiB, these cost half as much again as the decompression. */
const OUTPUT_CHUNK = 256 * 1024;

/**
 * Decompresses gzip data of any number of members. Zeros after them, as on tapes, are padding, as for GNU gzip; zlib's stream ends at the
 * first of them, at which a plain pipeline would fail.
 */
export async function* gunzip(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const stream = createGunzip({ chunkSize: OUTPUT_CHUNK });
  // Where the stream has ended already, nobody listens to it any more: an error of what follows comes from `fed`.
  stream.on('error', () => undefined);
  const unpacked: AsyncIterable<Buffer> = stream;
  const fed = feed(stream, source);
  fed.catch((error) => stream.destroy(error));
  yield* unpacked;
  await fed;
}

async function feed(stream: Gunzip, source: AsyncIterable<Buffer>): Promise<void> {
  let bytes = 0;
  let isOver = false;
  for await (const chunk of source) {
    let padding = chunk;
    if (!isOver) {
      await new Promise<void>((resolve, reject) => {
        stream.write(chunk, (error) => (error ? reject(error) : resolve()));
      });
      bytes += chunk.length;
      padding = chunk.subarray(chunk.length - (bytes - stream.bytesWritten));
      isOver = padding.length > 0;
    }
    if (!isZeros(padding)) throw new Error('other bytes follow the zeros after the gzip data');
  }
  stream.end();
}

function isZeros(bytes: Buffer): boolean {
  // Compares each byte with the one before it, in one call: 1 GiB takes 50 ms; a loop over the bytes takes 8 s.
  return bytes.length === 0 || (bytes[0] === 0 && bytes.compare(bytes, 0, bytes.length - 1, 1) === 0);
}
