import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { finished, pipeline } from 'node:stream/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ZstdWindows as ArchiveZstdWindows } from '../../oci/archive/zstd-window.ts';
import { createZstdDecompress } from '../layer/zstd.ts';
import { ZSTD_WINDOW_LIMIT as WINDOW_LIMIT, ZstdWindows } from '../layer/zstd-window.ts';

const MIB = 1024 * 1024;
const MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const RAW = 0;
const RLE = 1;

/** A block header (RFC 8878, 3.1.1.2), with what follows it. */
function block(type: number, size: number, content: Buffer, isLast = false): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE((size << 3) | (type << 1) | (isLast ? 1 : 0), 0, 3);
  return Buffer.concat([header, content]);
}

const END = block(RAW, 0, Buffer.alloc(0), true);

/** A frame whose window has the size `2 ** log * (1 + eighths / 8)`. */
const windowed = (log: number, eighths: number, blocks: readonly Buffer[] = [END]): Buffer =>
  Buffer.concat([MAGIC, Buffer.from([0x00, ((log - 10) << 3) | eighths]), ...blocks]);

/** A frame of one segment, whose window is its content's size, as eight bytes; with a checksum, and a dictionary id of two bytes. */
function singleSegment(bytes: bigint): Buffer {
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(bytes);
  const checksum = Buffer.alloc(4, 0x28);
  return Buffer.concat([MAGIC, Buffer.from([0xe6, 0, 0]), size, END, checksum]);
}

/** A frame of one segment as zstd makes it of small content: its size in as few bytes as it takes (two hold it less 256), and nothing else. */
function smallSegment(bytes: number): Buffer {
  const length = bytes < 256 ? 1 : bytes < 256 + 0x1_0000 ? 2 : 4;
  const size = Buffer.alloc(length);
  size.writeUIntLE(length === 2 ? bytes - 256 : bytes, 0, length);
  return Buffer.concat([MAGIC, Buffer.from([{ 1: 0x20, 2: 0x60, 4: 0xa0 }[length]]), size, END]);
}

const skippable = (length: number): Buffer => {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a53, 0);
  header.writeUInt32LE(length, 4);
  // What is skipped looks like the beginning of a frame that would be refused.
  return Buffer.concat([header, Buffer.alloc(length, windowed(31, 0))]);
};

const content = Buffer.from('content'.repeat(20_000));
const good = windowed(20, 0, [
  block(RAW, 100_000, content.subarray(0, 100_000)),
  block(RLE, 128 * 1024, Buffer.from([0x28])),
  block(RAW, 40_000, content.subarray(100_000), true),
]);

/** The largest window, of what comes in pieces of these lengths, over and over: libs/oci has the same class for whole archives. */
function largestWindow(data: Buffer, lengths: readonly number[] = [data.length]): number {
  const windows = new ZstdWindows();
  const ofArchive = new ArchiveZstdWindows();
  let largest = 0;
  for (let at = 0, i = 0; at < data.length; i += 1) {
    const length = lengths[i % lengths.length] ?? 1;
    const piece = Buffer.from(data.subarray(at, at + length));
    largest = windows.push(piece);
    // Not with `expect`: of a million pieces, that alone would take seconds.
    if (ofArchive.push(piece) !== largest) throw new Error(`the window of libs/oci is another after ${at} bytes`);
    // What was pushed is the pusher's.
    piece.fill(0xff);
    at += length;
  }
  return largest;
}

const takes = (data: Buffer, lengths?: readonly number[]): boolean => largestWindow(data, lengths) <= WINDOW_LIMIT;

describe('the window of a zstd frame', () => {
  test.each([
    ['64 MiB, as zstd --ultra -21 makes', windowed(26, 0), true],
    ['a little more', windowed(26, 1), false],
    ['128 MiB, as zstd --long makes', windowed(27, 0), false],
    ['2 GiB, as zstd --long=31 makes', windowed(31, 0), false],
    ['the largest that can be written', windowed(41, 7), false],
    ['one segment of 64 MiB', singleSegment(BigInt(WINDOW_LIMIT)), true],
    ['one segment of a byte more', singleSegment(BigInt(WINDOW_LIMIT) + 1n), false],
    ['one segment of 2^64 - 1 bytes', singleSegment(2n ** 64n - 1n), false],
    ['an empty segment, with its size in one byte', Buffer.concat([MAGIC, Buffer.from([0x20, 0]), END]), true],
  ])('%s', (_what, frame, isTaken) => {
    expect(takes(frame)).toBe(isTaken);
    for (const before of [good, skippable(1000), skippable(0), singleSegment(7n)])
      expect(takes(Buffer.concat([before, frame]), [before.length - 3, 1, 7])).toBe(isTaken);
  });

  test('of one segment is its size, in whatever field that stands', () => {
    for (const size of [0, 1, 255, 256, 300, 65_791, 65_792, 2 ** 32 - 1]) {
      const frame = smallSegment(size);
      expect(largestWindow(frame, [3])).toBe(size);
      // And what follows is found.
      expect(takes(Buffer.concat([frame, windowed(31, 0)]), [3])).toBe(false);
    }
    expect(largestWindow(windowed(20, 5))).toBe(2 ** 20 + 5 * 2 ** 17);
    expect(largestWindow(singleSegment(77n))).toBe(77);
  });

  test('is looked at in whatever pieces the data comes', () => {
    const frames = Buffer.concat([good, skippable(500), singleSegment(300n), good]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1 }), (lengths) => {
        expect(takes(frames, lengths)).toBe(true);
        expect(takes(Buffer.concat([frames, windowed(30, 0)]), lengths)).toBe(false);
      }),
      { numRuns: 10 },
    );
  });

  test('what is no zstd is left to the decompressor', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => expect(takes(Buffer.from(bytes))).toBe(true)));
  });
});

describe('the decompressor', () => {
  const decompress = (data: Buffer) => buffer(Readable.from([data]).pipe(createZstdDecompress()));

  test('gives the content of every frame', async () => {
    const whole = Buffer.concat([
      content.subarray(0, 100_000),
      Buffer.alloc(128 * 1024, 0x28),
      content.subarray(100_000),
    ]);
    expect((await decompress(good)).equals(whole)).toBe(true);
    expect((await decompress(Buffer.concat([good, skippable(100), good]))).length).toBe(2 * whole.length);
  });

  test('does not keep the windows of the frames that it is given at once', async () => {
    const frames = 16;
    const frame = windowed(26, 0, [block(RLE, 1, Buffer.from('a'), true)]);
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    const stream = Readable.from([Buffer.concat(Array.from({ length: frames }, () => frame))]).pipe(
      createZstdDecompress(),
    );
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    });
    await finished(stream);
    expect(bytes).toBe(frames);
    expect(most).toBeLessThan((frames * 64 * MIB * 3) / 4);
  });

  test('refuses a window of 2 GiB before it makes room for it', async () => {
    const before = process.memoryUsage().arrayBuffers;
    const refused = pipeline(
      Readable.from([windowed(31, 0, [block(RLE, 10, Buffer.from([1])), END])]),
      createZstdDecompress(),
      drain,
    );
    await expect(refused).rejects.toMatchObject({
      code: 'layer_too_large',
      message: expect.stringContaining('2048 MiB'),
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(256 * MIB);
  });

  test.each([
    [good.subarray(0, good.length - 10)],
    [Buffer.from('no zstd at all')],
    [Buffer.concat([good, Buffer.from('and more')])],
  ])('fails for what is cut short or no zstd: %#', async (data) => {
    await expect(pipeline(Readable.from([data]), createZstdDecompress(), drain)).rejects.toThrow();
  });

  // 128 MB in 4 KB, in one piece.
  const BLOCKS = 1_000;
  const bomb = windowed(17, 0, [...new Array<Buffer>(BLOCKS).fill(block(RLE, 128 * 1024, Buffer.from([0]))), END]);

  test('goes on only when what it gave is wanted', async () => {
    const stream = createZstdDecompress();
    stream.end(bomb);
    stream.read(0);
    let bytes = 0;
    let most = stream.readableLength;
    for await (const chunk of stream) {
      bytes += chunk.length;
      most = Math.max(most, stream.readableLength);
    }
    expect(bytes).toBe(BLOCKS * 128 * 1024);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(40 * MIB);
  });

  test('gives little at a time to who takes all that comes and puts it off', async () => {
    const stream = createZstdDecompress();
    let bytes = 0;
    let waiting = 0;
    let most = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      waiting += chunk.length;
      most = Math.max(most, waiting);
      setImmediate(() => {
        waiting -= chunk.length;
      });
    });
    stream.end(bomb);
    await finished(stream);
    expect(bytes).toBe(BLOCKS * 128 * 1024);
    expect(most).toBeLessThan(40 * MIB);
  });

  test('stops when it is destroyed in between', async () => {
    const stream = createZstdDecompress();
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      setImmediate(() => stream.destroy(new Error('enough')));
    });
    stream.end(bomb);
    await expect(finished(stream)).rejects.toThrow('enough');
    expect(bytes).toBeLessThan(40 * MIB);
  });
});

async function drain(source: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of source);
}
