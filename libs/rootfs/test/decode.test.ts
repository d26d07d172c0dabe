import { rm } from 'node:fs/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { describeStack, layerStack, stackRuns } from './support/arbitrary-layers.ts';
import { contentOf, decodeTar } from './support/decode.ts';
import { layerEntry } from './support/layer-entries.ts';
import { contentSize, readContent, type TarEntry } from './support/tar-entry.ts';
import { paxBlocks, type TarItem, tarBuffer } from './support/tar-writer.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

test('any layer in any form of tar, in pieces of any size, decodes to what it states', async () => {
  await withTemporaryDirectory(async (directory) => {
    const cuts = fc.array(fc.nat({ max: 300_000 }), { maxLength: 30, size: 'max' });
    await fc.assert(
      fc.asyncProperty(layerStack, cuts, fc.integer({ min: 0, max: 4 }), async (stack, places, endBlocks) => {
        const entries = stack.layers.flat();
        const decoded = await decodeTar(directory, tarBuffer(entries, { endBlocks }), places);
        for (const [index, entry] of entries.entries()) {
          const found = decoded.entries[index];
          if (found === undefined) throw new Error('an entry is missing');
          try {
            expect({ ...found, runs: [] }).toEqual(layerEntry(entry));
            if (entry.content !== undefined)
              expect(
                (await contentOf(decoded, found)).equals(readContent(entry.content, 0, contentSize(entry.content))),
              ).toBe(true);
          } catch (error) {
            throw new Error(`not as stated: ${describeStack({ layers: [[entry]] })}`, { cause: error });
          }
        }
        expect(decoded.entries.length).toBe(entries.length);
        await rm(decoded.directory, { recursive: true });
      }),
      stackRuns(60),
    );
  });
}, 600_000);

test('an index that was written out with its last entry ends there', async () => {
  await withTemporaryDirectory(async (directory) => {
    const long = `${'n'.repeat(255)}/`.repeat(2100);
    const { entries } = await decodeTar(directory, tarBuffer([{ path: `${long}f`, type: 'fifo' }]));
    expect(entries.map(({ path }) => path)).toEqual([`${long}f`]);
  });
});

describe('an entry', () => {
  const decodeOne = async (...items: TarItem[]) => {
    return await withTemporaryDirectory(async (directory) => (await decodeTar(directory, tarBuffer(items))).entries);
  };
  const file: TarEntry = { path: 'a', type: 'file', content: Buffer.from('text') };

  test('of a time before 1970 in base-256 keeps it to the second', async () => {
    for (const seconds of [-1n, -255n, -256n, -(2n ** 31n), 0n, 2n ** 33n]) {
      const [entry] = await decodeOne({
        ...file,
        mtime: seconds * 1_000_000_000n,
        encoding: { format: 'gnu', numbers: 'base-256' },
      });
      expect(entry).toMatchObject({ mtimeSeconds: Number(seconds), mtimeNanoseconds: 0 });
    }
  });

  test('takes no attributes from a global PAX header', async () => {
    const raw = Buffer.concat([
      ...paxBlocks('g', 'pax_global_header', [
        ['mtime', '5'],
        ['uid', '7'],
        ['comment', 'c'],
      ]),
    ]);
    const [entry] = await decodeOne({ raw }, file);
    expect(entry).toMatchObject({ mtimeSeconds: 0, uid: 0, path: 'a' });
  });

  test('takes the last PAX record of a key, and none where that is empty, unless it is an attribute, which may be', async () => {
    const raw = Buffer.concat([
      ...paxBlocks('x', 'header', [
        ['path', 'first'],
        ['path', ''],
        ['mtime', '5'],
        ['mtime', '6'],
        ['size', '7'],
        ['size', ''],
        ['SCHILY.xattr.user.a', '1'],
        ['SCHILY.xattr.user.a', ''],
      ]),
    ]);
    const [entry] = await decodeOne({ raw }, file);
    expect(entry).toMatchObject({ path: 'a', mtimeSeconds: 6, size: 4, xattrs: [['user.a', '']] });
  });

  test("is root's where its owner is -1, which no file can have", async () => {
    const [entry] = await decodeOne({ ...file, uid: 2 ** 32 - 1, gid: 2 ** 32 - 1 });
    expect(entry).toMatchObject({ uid: 0, gid: 0 });
  });

  test('of the old format is a directory when its name ends in a slash, and of type 7 a file', async () => {
    const old: TarEntry = { path: 'd/', type: 'file', encoding: { format: 'v7', typeFlag: '\0' } };
    const contiguous: TarEntry = { ...file, encoding: { typeFlag: '7' } };
    const entries = await decodeOne(old, contiguous);
    expect(entries.map(({ type, path }) => [type, path])).toEqual([
      ['directory', 'd'],
      ['file', 'a'],
    ]);
  });

  test('that is a link or a directory has no content, whatever size it claims', async () => {
    const claims = { claimedSize: 4096 };
    const entries = await decodeOne(
      { path: 'd', type: 'directory', encoding: claims },
      file,
      { path: 'l', type: 'link', target: 'a', encoding: claims },
      { path: 's', type: 'symlink', target: 'a', encoding: claims },
      { path: 'z', type: 'fifo' },
    );
    expect(entries.map(({ type, size }) => [type, size])).toEqual([
      ['directory', 0],
      ['file', 4],
      ['link', 0],
      ['symlink', 0],
      ['fifo', 0],
    ]);
  });
});
