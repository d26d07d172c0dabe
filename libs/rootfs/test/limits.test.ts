import { createHash } from 'node:crypto';
import { mkdtemp, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { buildRootfs, decodeLayer, describeLayerFile, type ImageLimits, RootfsError } from '@bhatti/rootfs';
import { expect, test } from '@jest/globals';
import { type DecodedLayer, decodeBlob } from '../layer/layer-decoder.ts';
import { DEFAULT_LIMITS, type LayerLimits } from '../layer/limits.ts';
import { decodeTar } from './support/decode.ts';
import { writeLayer } from './support/layers.ts';
import type { TarEntry } from './support/tar-entry.ts';
import { tarBuffer } from './support/tar-writer.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const MIB = 1024 * 1024;
const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

const packedTars = new WeakMap<Buffer, { readonly blob: Buffer; readonly diffId: string }>();

/** The tar as a blob and its digest, made once of each: for large ones that takes longer than to decode them. */
function packed(tar: Buffer) {
  const known = packedTars.get(tar) ?? { blob: gzipSync(tar, { level: 1 }), diffId: sha256(tar) };
  packedTars.set(tar, known);
  return known;
}

/** What becomes of a layer within these limits: the decoder's answer, or the code of its error; and how much of the blob it took. */
async function decode(
  tar: Buffer,
  limits: Partial<LayerLimits>,
  padding = Buffer.alloc(0),
): Promise<{ answer: DecodedLayer | string; read: number; blob: number; written: number }> {
  return withTemporaryDirectory(async (directory) => {
    const outDirectory = await mkdtemp(join(directory, 'layer-'));
    const { blob: unpadded, diffId } = packed(tar);
    const blob = Buffer.concat([unpadded, padding]);
    let read = 0;
    const pieces = async function* (): AsyncGenerator<Buffer> {
      for (; read < blob.length; read += 4096) {
        // As when it is read from a file.
        await turn();
        yield blob.subarray(read, read + 4096);
      }
    };
    const layer = {
      compressedDigest: sha256(blob),
      diffId,
      outDirectory,
      limits: { ...DEFAULT_LIMITS, ...limits },
    };
    const answer = await decodeBlob(layer, pieces()).catch((error: unknown) => {
      if (error instanceof RootfsError) return error.code;
      throw error;
    });
    const files = await readdir(outDirectory);
    const sizes = await Promise.all(files.map(async (file) => (await stat(join(outDirectory, file))).size));
    return { answer, read, blob: blob.length, written: sizes.reduce((sum, size) => sum + size, 0) };
  });
}

const LARGE = 20 * MIB;
const zeros: TarEntry = { path: 'zeros', type: 'file', content: Buffer.alloc(LARGE) };
const files = (count: number): TarEntry[] =>
  Array.from({ length: count }, (_, i) => ({ path: `f${i}`, type: 'file', content: Buffer.alloc(0) }));

/** As compressible as zeros, nearly, but takes its place on the disk. */
const ones: TarEntry = { path: 'ones', type: 'file', content: Buffer.alloc(LARGE, 1) };

const tarOfZeros = tarBuffer([zeros]);
const tarOfOnes = tarBuffer([ones]);

test('a layer that expands beyond reason is given up early, with a code of its own', async () => {
  const { answer, read, blob } = await decode(tarOfOnes, { expansionGrace: 4 * MIB });
  expect(answer).toBe('expansion_too_large');
  expect(read).toBeLessThan(blob / 2);
});

test('a layer that breaks a limit is not read to its end, though padding follows', async () => {
  const { answer, read, blob } = await decode(tarBuffer(files(100)), { entries: 99 }, Buffer.alloc(MIB));
  expect(answer).toBe('layer_too_large');
  expect(read).toBeLessThan(blob / 2);
});

test('zeros, which become holes, are no expansion, until they are more than a limit of their own', async () => {
  const limits = { expansionGrace: 4 * MIB, expansionRatio: 100, zeroGrace: LARGE - 2 * MIB };
  expect((await decode(tarOfZeros, limits)).answer).toMatchObject({ entries: 1 });
  const { answer, read, blob } = await decode(tarOfZeros, { ...limits, zeroGrace: 4 * MIB });
  expect(answer).toBe('expansion_too_large');
  expect(read).toBeLessThan(blob / 2);
  // They do not make room for what is none.
  expect((await decode(tarBuffer([{ ...zeros, content: Buffer.alloc(4 * MIB) }, ones]), limits)).answer).toBe(
    'expansion_too_large',
  );
});

test('fragments of sparse files count as what they take on the disk: a block each, though the tar has a byte', async () => {
  const count = 20_000;
  const size = count * 4096;
  const numbers = [count, ...Array.from({ length: count }, (_, at) => [at * 4096, 1]).flat()];
  const map = Buffer.from(`${numbers.join('\n')}\n`);
  const padding = Buffer.alloc(512 - (map.length % 512));
  const form: [string, string][] = [
    ['GNU.sparse.major', '1'],
    ['GNU.sparse.minor', '0'],
    ['GNU.sparse.realsize', String(size)],
  ];
  const content = Buffer.concat([map, padding, Buffer.alloc(count, 1)]);
  const tar = tarBuffer([{ path: 'sparse', type: 'file', content, encoding: { extraRecords: form } }]);
  const { answer, written } = await decode(tar, { expansionGrace: 4 * MIB });
  expect(answer).toBe('expansion_too_large');
  expect(written).toBeLessThan(size);
});

test('the same holds where a file is read for its digests', async () => {
  await withTemporaryDirectory(async (directory) => {
    const describe = async (entry: TarEntry) => {
      const { path } = await writeLayer(join(directory, entry.path.toString()), [entry], { compression: 'gzip' });
      return describeLayerFile(path, { limits: { expansionGrace: 4 * MIB, zeroGrace: LARGE - 2 * MIB } });
    };
    expect(await describe(zeros)).toMatchObject({ diffId: sha256(tarOfZeros) });
    await expect(describe(ones)).rejects.toMatchObject({ code: 'expansion_too_large' });
  });
});

test('one that expands as much but is small is taken', async () => {
  expect((await decode(tarOfOnes, {})).answer).toMatchObject({ entries: 1 });
});

test.each<[string, TarEntry[], Partial<LayerLimits>, Partial<LayerLimits>]>([
  ['bytes', [zeros], { tarBytes: LARGE + 2048 }, { tarBytes: LARGE }],
  ['entries', files(100), { entries: 100 }, { entries: 99 }],
  ['names and attributes', files(100), { indexBytes: 10_000 }, { indexBytes: 1000 }],
  ['a path', [{ path: `${'d/'.repeat(10)}f`, type: 'fifo' }], { pathBytes: 21 }, { pathBytes: 20 }],
  ['directories', [{ path: `${'d/'.repeat(10)}f`, type: 'fifo' }], { pathDepth: 11 }, { pathDepth: 10 }],
])('a layer may have as much as its limit of %s, and no more', async (_what, entries, within, beyond) => {
  // What follows is never read.
  const tar = entries.includes(zeros) ? tarOfZeros : tarBuffer(entries);
  expect((await decode(tar, within)).answer).toMatchObject({ entries: entries.length });
  expect((await decode(tar, beyond)).answer).toBe('layer_too_large');
});

test('a path is refused beyond 4,096 names, and not for passing PATH_MAX', async () => {
  const deep = (names: number) => tarBuffer([{ path: `${`${'n'.repeat(254)}/`.repeat(names - 1)}f`, type: 'fifo' }]);
  expect((await decode(deep(4096), {})).answer).toMatchObject({ entries: 1 });
  expect((await decode(deep(4097), {})).answer).toBe('layer_too_large');
});

test('an image may have as much as its limits of content and entries, and no more', async () => {
  await withTemporaryDirectory(async (directory) => {
    const { directory: layer } = await decodeTar(
      directory,
      tarBuffer([...files(100), { path: 'data', type: 'file', content: Buffer.alloc(8192, 1) }]),
    );
    const build = (name: string, limits: Partial<ImageLimits>) =>
      buildRootfs({ layers: [layer], output: join(directory, name), limits });
    const { entries, contentBytes } = await build('within', { contentBytes: 8192 });
    expect(contentBytes).toBe(8192);
    await build('just', { entries });
    await expect(build('content', { contentBytes: 8191 })).rejects.toMatchObject({ code: 'image_too_large' });
    await expect(build('entries', { entries: entries - 1 })).rejects.toMatchObject({ code: 'image_too_large' });
  });
});

test('hard links count as entries of an image: each takes memory', async () => {
  await withTemporaryDirectory(async (directory) => {
    const links = Array.from({ length: 50 }, (_, i): TarEntry => ({ path: `link${i}`, type: 'link', target: 'file' }));
    const { directory: layer } = await decodeTar(directory, tarBuffer([{ path: 'file', type: 'file' }, ...links]));
    const build = (name: string, entries: number) =>
      buildRootfs({ layers: [layer], output: join(directory, name), limits: { entries } });
    // Beside them the root, the file, lost+found and five mount points.
    await build('just', 58);
    await expect(build('more', 57)).rejects.toMatchObject({ code: 'image_too_large' });
    await expect(build('far more', 40)).rejects.toMatchObject({ code: 'image_too_large' });
  });
});

test('limits reach the thread that decodes', async () => {
  await withTemporaryDirectory(async (directory) => {
    const { path, digest, ...blob } = await writeLayer(join(directory, 'blob'), files(3));
    const layer = { ...blob, source: path, compressedDigest: digest };
    const decode = (outDirectory: string, entries: number) =>
      decodeLayer({ ...layer, outDirectory, limits: { entries } });
    expect(await decode(await mkdtemp(join(directory, 'a-')), 3)).toMatchObject({ entries: 3 });
    await expect(decode(await mkdtemp(join(directory, 'b-')), 2)).rejects.toMatchObject({ code: 'layer_too_large' });
  });
});

test('a size in a header is not trusted: nothing is taken for what does not come', async () => {
  const tar = tarBuffer([{ path: 'f', type: 'file', content: Buffer.alloc(4096, 1) }]);
  const claims = Buffer.from(tar);
  claims.write('77777777777\0', 124, 'latin1');
  let sum = 0;
  claims.fill(0x20, 148, 156);
  for (const byte of claims.subarray(0, 512)) sum += byte;
  claims.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  const { answer, written } = await decode(claims, {});
  expect(answer).toBe('layer_corrupt');
  expect(written).toBeLessThan(MIB);
});
