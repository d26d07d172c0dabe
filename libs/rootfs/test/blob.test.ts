import { createHash, randomBytes } from 'node:crypto';
import { appendFile, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type DecodedLayer, type DecodeOptions, decodeLayer, describeLayerFile, RootfsError } from '../index.ts';
import type { LayerCompression } from '../layer/compression.ts';
import { decompress } from '../layer/decompress.ts';
import { tarBuffer } from './support/tar-writer.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';
import { createStoredZstd } from './support/zstd-stored.ts';

const tar = tarBuffer([{ path: 'a', type: 'file', content: randomBytes(150_000) }]);
const zstd = await buffer(Readable.from([tar]).pipe(createStoredZstd()));
const forms: Record<LayerCompression, Buffer> = { gzip: gzipSync(tar), zstd, none: tar };
const compressions = ['gzip', 'zstd', 'none'] as const;

const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const tarDigest = sha256(tar);

/** Decodes a blob on a thread, as a worker does; `stored` is what arrived of it. */
async function decode(
  parent: string,
  blob: Buffer,
  options: Partial<DecodeOptions> & { stored?: Buffer } = {},
): Promise<DecodedLayer> {
  const directory = await mkdtemp(join(parent, 'blob-'));
  const { stored = blob, ...rest } = options;
  const source = join(directory, 'blob');
  const outDirectory = join(directory, 'layer');
  await mkdir(outDirectory);
  await writeFile(source, stored);
  const digests = { compressedDigest: sha256(blob), diffId: tarDigest };
  return await decodeLayer({ source, size: blob.length, ...digests, outDirectory, ...rest });
}

describe.each(compressions)('a %s blob', (compression) => {
  const blob = forms[compression];

  test('is recognised, also when its first bytes come one by one', async () => {
    await withTemporaryDirectory(async (directory) => {
      const source = join(directory, 'growing');
      await writeFile(source, blob.subarray(0, 1));
      const available = (listener: (bytes: number) => void) => {
        listener(1);
        void appendFile(source, blob.subarray(1))
          .then(() => listener(3))
          .then(() => setImmediate(() => listener(blob.length)));
        return () => {};
      };
      expect(await decode(directory, blob, { source, available })).toEqual({ entries: 1, tarBytes: tar.length });
    });
  });

  test('is decoded while it grows', async () => {
    await withTemporaryDirectory(async (directory) => {
      const source = join(directory, 'growing');
      await writeFile(source, blob.subarray(0, 1000));
      const followed = decode(directory, blob, {
        source,
        available: (listener) => {
          listener(0);
          listener(1000);
          void appendFile(source, blob.subarray(1000)).then(() => {
            listener(blob.length);
          });
          return () => {};
        },
      });
      expect(await followed).toEqual({ entries: 1, tarBytes: tar.length });
    });
  });

  test('that was damaged anywhere is to be fetched again', async () => {
    await withTemporaryDirectory(async (directory) => {
      await fc.assert(
        fc.asyncProperty(fc.nat({ max: blob.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, bits) => {
          const stored = Buffer.from(blob);
          stored[at] = (stored[at] ?? 0) ^ bits;
          await expect(decode(directory, blob, { stored })).rejects.toMatchObject({
            code: 'digest_mismatch',
          });
        }),
        { numRuns: 25, seed: 1 },
      );
    });
  });

  test('whose file is shorter than the blob is to be fetched again', async () => {
    await withTemporaryDirectory(async (directory) => {
      const stored = blob.subarray(0, blob.length - 10);
      await expect(decode(directory, blob, { stored })).rejects.toMatchObject({ code: 'size_mismatch' });
    });
  });

  test('whose tar is not what the config says is refused', async () => {
    await withTemporaryDirectory(async (directory) => {
      const diffId = sha256(Buffer.from('another'));
      await expect(decode(directory, blob, { diffId })).rejects.toMatchObject({ code: 'digest_mismatch' });
    });
  });

  test('that never comes is waited for until the signal says stop', async () => {
    await withTemporaryDirectory(async (directory) => {
      const stop = new AbortController();
      const available = (listener: (bytes: number) => void) => {
        listener(1000);
        setImmediate(() => stop.abort());
        return () => {};
      };
      const options = { available, signal: stop.signal };
      await expect(decode(directory, blob, options)).rejects.toMatchObject({ code: 'cancelled' });
    });
  });
});

test('a blob that was published damaged is corrupt, and no other download can help', async () => {
  await withTemporaryDirectory(async (directory) => {
    // Of several reads of 1 MiB, as its digest is of all of it, and it fails in the first.
    const damaged = Buffer.concat([forms.gzip, Buffer.alloc(3 * 2 ** 20)]);
    damaged.fill(0xff, 1000, 2000);
    await expect(decode(directory, damaged)).rejects.toMatchObject({ code: 'layer_corrupt', retryable: false });
    const other = Buffer.from(damaged).fill(1, damaged.length - 1);
    const arrived = decode(directory, damaged, { stored: other });
    await expect(arrived).rejects.toMatchObject({ code: 'digest_mismatch' });
    for (const [name, magic] of [
      ['xz', 'fd377a585a00'],
      ['bzip2', '425a6839314159265359'],
    ] as const) {
      const foreign = Buffer.concat([Buffer.from(magic, 'hex'), tar]);
      const message = expect.stringContaining(`a layer is compressed with ${name}, which is not unpacked here`);
      await expect(decode(directory, foreign)).rejects.toMatchObject({ code: 'layer_corrupt', message });
      const stored = Buffer.concat([foreign.subarray(0, -1), Buffer.from('x')]);
      await expect(decode(directory, foreign, { stored })).rejects.toMatchObject({ code: 'digest_mismatch' });
    }
  });
});

test('a blob whose damage makes a path leave the root is to be fetched again, one that was published so is refused', async () => {
  await withTemporaryDirectory(async (directory) => {
    const published = tarBuffer([{ path: '../a', type: 'file' }]);
    await expect(decode(directory, published)).rejects.toMatchObject({ code: 'path_escapes_root' });
    const stored = Buffer.from(published).fill(1, published.length - 1);
    await expect(decode(directory, published, { stored })).rejects.toMatchObject({ code: 'digest_mismatch' });
  });
});

test.each([100, 3 * 2 ** 20])(
  '%i bytes of zeros after its gzip data, as tapes have them, are no part of its tar',
  async (zeros) => {
    await withTemporaryDirectory(async (directory) => {
      const blob = Buffer.concat([forms.gzip, Buffer.alloc(zeros)]);
      const path = join(directory, 'padded');
      await writeFile(path, blob);
      expect(await describeLayerFile(path)).toEqual({
        size: blob.length,
        compressedDigest: sha256(blob),
        diffId: tarDigest,
      });
      expect(await decode(directory, blob)).toEqual({ entries: 1, tarBytes: tar.length });
    });
  },
);

describe('what stands around its compressed data means the same, wherever chunks end:', () => {
  const content = Buffer.from('content');
  const zeros = Buffer.alloc(3);
  const other = Buffer.from('other');
  const gzip = gzipSync(content);
  const emptyGzip = gzipSync(Buffer.alloc(0));
  // A frame of one raw block, an empty one, and one that is skipped.
  const frame = Buffer.concat([Buffer.from('28b52ffd0000390000', 'hex'), content]);
  const emptyFrame = Buffer.from('28b52ffd0000010000', 'hex');
  const skipped = Buffer.from('502a4d1803000000616263', 'hex');

  /** What comes of the blob in these pieces: its content, or the code and message of its refusal. */
  async function outcome(blob: Buffer, cuts: readonly number[]): Promise<string> {
    async function* pieces(): AsyncGenerator<Buffer, void, undefined> {
      const ends = [...cuts, blob.length];
      for (const [i, to] of ends.entries()) yield Buffer.from(blob.subarray(ends[i - 1] ?? 0, to));
    }
    let compressed = '';
    let tar = '';
    try {
      await decompress(
        pieces(),
        (chunk) => (compressed += chunk.toString('hex')),
        (chunk) => (tar += chunk.toString('latin1')),
      );
    } catch (error) {
      return error instanceof RootfsError ? `${error.code}: ${error.message.replace(/.*: /, '')}` : String(error);
    }
    return compressed === blob.toString('hex') ? tar : 'not all of it was hashed';
  }

  test.each<[string, readonly Buffer[], string]>([
    ['gzip, zeros', [gzip, zeros], 'content'],
    ['gzip, gzip', [gzip, gzip], 'contentcontent'],
    ['empty gzip', [emptyGzip], ''],
    ['gzip, empty gzip, gzip', [gzip, emptyGzip, gzip], 'contentcontent'],
    ['gzip, zeros, gzip', [gzip, zeros, gzip], 'other bytes follow the zeros after its gzip data'],
    ['gzip, zeros, others', [gzip, zeros, other], 'other bytes follow the zeros after its gzip data'],
    ['gzip, others', [gzip, other], 'incorrect header check'],
    ['gzip, half a header', [gzip, gzip.subarray(0, 5)], 'unexpected end of file'],
    ['zstd, zstd', [frame, frame], 'contentcontent'],
    ['empty zstd, zstd, empty zstd', [emptyFrame, frame, emptyFrame], 'content'],
    ['skipped, zstd, skipped', [skipped, frame, skipped], 'content'],
    ['zstd, skipped, zstd', [frame, skipped, frame], 'contentcontent'],
    ['zstd, zeros', [frame, Buffer.alloc(20)], 'invalid zstd data'],
    ['zstd, others', [frame, Buffer.alloc(20, other)], 'invalid zstd data'],
    ['zstd, half a frame', [frame, frame.subarray(0, 7)], 'unexpected EOF'],
    ['zstd, skipped in half', [frame, skipped.subarray(0, 9)], 'unexpected EOF'],
  ])('%s', async (_what, parts, expected) => {
    const blob = Buffer.concat(parts);
    const places = Array.from({ length: blob.length - 1 }, (_, i) => i + 1);
    const cuttings = [[], places, ...places.map((at) => [at])];
    for (const at of places)
      for (const later of places) if (later > at && (at + later) % 7 === 0) cuttings.push([at, later]);
    const isContent = /^(content)*$/.test(expected);
    const wanted = isContent ? expected : `layer_corrupt: ${expected}`;
    const others: [cuts: number[], what: string][] = [];
    for (const cuts of cuttings) {
      const what = await outcome(blob, cuts);
      if (what !== wanted) others.push([cuts, what]);
    }
    expect(others).toEqual([]);
  });
});

test.each([
  ['one that is cut short', forms.gzip.subarray(0, -20), 'unexpected end of file (at the end of its gzip data)'],
  [
    'one with other bytes after it',
    Buffer.concat([forms.gzip, Buffer.alloc(3 * 2 ** 20, 1)]),
    '(in the middle of its gzip data)',
  ],
])('a file is told what is wrong with it: %s', async (_what, blob, words) => {
  await withTemporaryDirectory(async (directory) => {
    const path = join(directory, 'broken');
    await writeFile(path, blob);
    const message = expect.stringContaining(words);
    await expect(describeLayerFile(path)).rejects.toMatchObject({ code: 'layer_corrupt', message });
    await expect(describeLayerFile(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
  });
});

test('an empty blob is a layer of nothing, whatever its manifest states', async () => {
  await withTemporaryDirectory(async (directory) => {
    const empty = Buffer.alloc(0);
    expect(await decode(directory, empty, { diffId: sha256(empty) })).toEqual({ entries: 0, tarBytes: 0 });
  });
});

test('a zstd blob that wants 2 GiB of memory is refused', async () => {
  await withTemporaryDirectory(async (directory) => {
    const blob = Buffer.concat([Buffer.from('28b52ffd00a8', 'hex'), zstd.subarray(6)]);
    await expect(decode(directory, blob)).rejects.toMatchObject({ code: 'layer_too_large', retryable: false });
  });
});

test('a data directory that cannot be written fails, and the threads go on', async () => {
  await withTemporaryDirectory(async (directory) => {
    const outDirectory = join(directory, 'missing');
    await expect(decode(directory, forms.gzip, { outDirectory })).rejects.toMatchObject({ code: 'internal' });
    await expect(decode(directory, forms.gzip)).resolves.toMatchObject({ entries: 1 });
  });
});
