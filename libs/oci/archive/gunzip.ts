import { createGunzip, type Gunzip } from 'node:zlib';

/** Each is a turn of three generators; with zlib's own 16 KiB they cost half as much again as the unpacking. */
const OUTPUT_CHUNK = 256 * 1024;

/**
 * Unpacks gzip data of any number of members. Zeros behind them, as tapes have them, are padding, as for GNU gzip: zlib's stream ends at
 * the first of them, and a pipeline breaks off there.
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
  // Each byte is compared with the one before it: 1 GiB takes 50 ms, and 8 s where each is looked at by itself.
  return bytes.length === 0 || (bytes[0] === 0 && bytes.compare(bytes, 0, bytes.length - 1, 1) === 0);
}
