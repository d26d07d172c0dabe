import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { buildRootfs, RootfsError } from '@bhatti/rootfs';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeBlob } from '../layer/layer-decoder.ts';
import { mergeLayers } from '../tree/merge.ts';
import { stackRuns } from './support/arbitrary-layers.ts';
import { sparseContent } from './support/content.ts';
import { decodeTar } from './support/decode.ts';
import { mutation } from './support/mutations.ts';
import type { TarEntry } from './support/tar-entry.ts';
import { paxBlocks, type TarItem, type TarOptions, tarBuffer } from './support/tar-writer.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

/** What may be wrong with a layer; every other code would blame the machine or the program. */
const LAYER_CODES = ['layer_corrupt', 'path_escapes_root', 'image_too_large'];
const BLOCK = 4096;

const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

const codeOf = async (act: () => Promise<unknown>): Promise<string | undefined> => {
  try {
    await act();
    return undefined;
  } catch (error) {
    if (error instanceof RootfsError) return error.code;
    throw error;
  }
};

/** One of everything, small, so that a mutation hits something that counts. */
function seeds(prefix: string): TarEntry[][] {
  const sparse = sparseContent(
    20 * BLOCK,
    [1, 3, 5, 7, 9, 11].map((block) => ({ offset: block * BLOCK, length: BLOCK })),
    1,
  );
  const at = (path: string) => `${prefix}/${path}`;
  const content = Buffer.from('content of a file'.repeat(60));
  const capability: [string, Buffer] = [
    'security.capability',
    Buffer.from('0100000200200000000000000000000000000000', 'hex'),
  ];
  const plain: TarEntry[] = [
    { path: at('d/'), type: 'directory', mode: 0o1777 },
    { path: at('d/f'), type: 'file', content },
    { path: at('l'), type: 'link', target: at('d/f') },
    { path: at('s'), type: 'symlink', target: 'd/f' },
    { path: at('c'), type: 'character-device', deviceMajor: 1, deviceMinor: 3 },
    { path: at('p'), type: 'fifo' },
  ];
  return [
    plain.map((entry) => ({ ...entry, encoding: { format: 'ustar' } as const })),
    [
      { path: at('n'.repeat(150)), type: 'file', content },
      { path: at('x'), type: 'file', xattrs: [capability, ['user.a', Buffer.alloc(500, 1)]], mtime: -5n },
      { path: at('t'), type: 'symlink', target: 't'.repeat(300) },
      { path: at('u'), type: 'directory', uid: 2 ** 31, gid: 2 ** 31 },
    ],
    [
      { path: at('n'.repeat(150)), type: 'symlink', target: 't'.repeat(150), encoding: { format: 'gnu' } },
      { path: at('sparse'), type: 'file', content: sparse, encoding: { format: 'gnu', sparse: 'gnu' } },
      { path: at('big'), type: 'file', uid: 2 ** 31, encoding: { format: 'gnu' } },
    ],
    ...(['pax-0.0', 'pax-0.1', 'pax-1.0'] as const).map((form): TarEntry[] => [
      { path: at('sparse'), type: 'file', content: sparse, encoding: { sparse: form } },
      { path: at('after'), type: 'file', content },
    ]),
  ];
}

test('a tar that is broken in any way is refused with a code, or makes an image that e2fsck passes', async () => {
  const { numRuns, seed } = stackRuns(600);
  await withTemporaryDirectory(async (directory) => {
    const layers: string[] = [];
    let number = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 5 }),
        mutation,
        fc.array(fc.nat({ max: 20_000 }), { maxLength: 5 }),
        async (which, mutate, cuts) => {
          number++;
          const tar = mutate(tarBuffer(seeds(`t${number}`)[which] ?? []));
          const code = await codeOf(async () => {
            const decoded = await decodeTar(directory, tar, cuts);
            mergeLayers([decoded.entries]);
            layers.push(decoded.directory);
          });
          if (code !== undefined) expect(LAYER_CODES).toContain(code);
        },
      ),
      { numRuns, seed, endOnFailure: true },
    );
    // Enough get through to say something of the images.
    expect(layers.length).toBeGreaterThan(numRuns / 20);
    await expectImage(directory, layers);
  });
}, 600_000);

/** Builds an image of so many of the layers as ext4 takes: those that it does not must be refused with a code. */
async function expectImage(directory: string, layers: readonly string[]): Promise<void> {
  const output = join(directory, `rootfs-${layers.length}-${layers[0]?.slice(-6)}.ext4`);
  const code = await codeOf(() => buildRootfs({ layers, output }));
  if (code === undefined) return;
  expect(LAYER_CODES).toContain(code);
  if (layers.length === 1) return;
  const half = Math.ceil(layers.length / 2);
  await expectImage(directory, layers.slice(0, half));
  await expectImage(directory, layers.slice(half));
}

describe('a layer', () => {
  const decode = (items: TarItem[], options?: TarOptions) =>
    codeOf(() => withTemporaryDirectory((directory) => decodeTar(directory, tarBuffer(items, options))));
  const file: TarEntry = { path: 'a', type: 'file', content: Buffer.alloc(1000, 1) };
  const withRecords = (...records: [string, string][]): TarEntry => ({ ...file, encoding: { extraRecords: records } });

  test('cut anywhere is refused, but for the zeros at its end', async () => {
    const items = seeds('c').flat();
    const whole = tarBuffer(items, { endBlocks: 0 }).length;
    const places = Array.from({ length: 60 }, (_, index) => Math.floor((whole * index) / 60) + (index % 3) * 511);
    for (const cutAt of places) {
      const code = await decode(items, { cutAt });
      if (cutAt % 512 !== 0) expect(['layer_corrupt', undefined]).toContain(code);
    }
    expect(await decode([file], { cutAt: 512 + 500 })).toBe('layer_corrupt');
    expect(await decode([file], { cutAt: 300 })).toBe('layer_corrupt');
    expect(await decode([file], { endBlocks: 0 })).toBeUndefined();
    expect(await decode([], { endBlocks: 0 })).toBeUndefined();
  });

  test('whose paths or hard links climb out is refused, and says so', async () => {
    for (const path of ['../a', '/../a', 'a/../../b', '..', './..'])
      expect(await decode([{ ...file, path }])).toBe('path_escapes_root');
    expect(await decode([{ path: 'l', type: 'link', target: '../../etc/passwd' }])).toBe('path_escapes_root');
    expect(await decode([withRecords(['path', '../x'])])).toBe('path_escapes_root');
    expect(await decode([{ path: 's', type: 'symlink', target: '../../../etc/passwd' }])).toBeUndefined();
  });

  test.each([
    ['a size beyond its end', { ...file, encoding: { claimedSize: 8 ** 11 - 1 } }],
    [
      'a size that no number holds',
      { ...file, encoding: { fields: { size: Buffer.from('80ffffffffffffffffffffff', 'hex') } } },
    ],
    ['a negative size', { ...file, encoding: { fields: { size: Buffer.alloc(12, 0xff) } } }],
    ['a size that is none', { ...file, encoding: { fields: { size: Buffer.from('12x45678901\0') } } }],
    ['a wrong checksum', { ...file, encoding: { checksum: 'wrong' } }],
    ['a PAX size that is none', withRecords(['size', 'x'])],
    ['a PAX size beyond its end', withRecords(['size', '9007199254740991'])],
    ['a PAX size that no number holds', withRecords(['size', '99999999999999999999'])],
    ['a PAX time that is none', withRecords(['mtime', 'noon'])],
    ['a PAX owner that is none', withRecords(['uid', '-2147483649'])],
    ['a PAX owner that is no number', withRecords(['uid', '--1'])],
    ['a PAX owner that is too large', withRecords(['gid', '4294967296'])],
    ['a name with a NUL', withRecords(['path', 'a\0b'])],
    ['a name that is too long', { ...file, path: 'n'.repeat(256) }],
    ['a sparse map that goes backwards', withRecords(['GNU.sparse.size', '1000'], ['GNU.sparse.map', '500,10,0,10'])],
    [
      'a sparse map that is longer than the data',
      withRecords(['GNU.sparse.size', '99999'], ['GNU.sparse.map', '0,99999']),
    ],
    ['a sparse map of an odd number', withRecords(['GNU.sparse.size', '1000'], ['GNU.sparse.map', '0,500,500'])],
    [
      'a sparse map in content that has none',
      withRecords(['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.realsize', '5000']),
    ],
    [
      'a device number that Linux does not have',
      {
        path: 'c',
        type: 'character-device',
        encoding: { format: 'gnu', fields: { deviceMajor: Buffer.from('7777777\0') } },
      },
    ],
    [
      'a device number that is none',
      {
        path: 'c',
        type: 'block-device',
        encoding: { format: 'gnu', fields: { deviceMinor: Buffer.from('abcdefg\0') } },
      },
    ],
  ] satisfies [string, TarEntry][])('with %s is refused', async (_name, entry) => {
    expect(await decode([entry, { path: 'next', type: 'directory' }])).toBe('layer_corrupt');
  });

  test('that is refused writes nothing more: the numbers of its files may be those of others by now', async () => {
    // Zstandard gives 128 KiB at a time, and of so small a blob all at once. The entry that is refused ends the seventh part.
    const part = 2 ** 17;
    const tar = tarBuffer([
      { path: 'before', type: 'file', content: Buffer.alloc(7 * part - 1024, 'a') },
      { path: '../out', type: 'fifo' },
      { path: 'after', type: 'file', content: Buffer.alloc(2 * part, 'b') },
    ]);
    const blob = execFileSync('zstd', ['--stdout', '--quiet'], { input: tar });
    await withTemporaryDirectory(async (directory) => {
      const others: number[] = [];
      const chunks = [blob].values();
      const source: AsyncIterableIterator<Buffer> = {
        [Symbol.asyncIterator]: () => source,
        next: async () => chunks.next(),
        // Called once the layer's files are closed.
        return: async () => {
          for (const name of ['a', 'b', 'c']) others.push(openSync(join(directory, name), 'w'));
          return { done: true, value: undefined };
        },
      };
      const layer = { compressedDigest: sha256(blob), diffId: sha256(tar), outDirectory: directory };
      await expect(decodeBlob(layer, source)).rejects.toMatchObject({ code: 'path_escapes_root' });
      // After all that was put off until then.
      await new Promise((resolve) => setTimeout(resolve));
      expect(others.map((descriptor) => fstatSync(descriptor).size)).toEqual([0, 0, 0]);
      for (const descriptor of others) closeSync(descriptor);
    });
  });

  test('with an entry of a type that no root filesystem has is refused, and says which', async () => {
    const entries: TarEntry[] = [{ ...file, path: 'label', encoding: { typeFlag: 'V' } }];
    await withTemporaryDirectory(async (directory) => {
      await expect(decodeTar(directory, tarBuffer(entries))).rejects.toMatchObject({
        code: 'layer_corrupt',
        message: 'the layer\'s entry "label" has the type "V", which no root filesystem has',
      });
    });
  });

  test('with an extended header of gigabytes is refused before it is read', async () => {
    const [header] = paxBlocks('x', 'PaxHeaders.0/a', [['path', 'a']]);
    const huge: TarEntry = { path: 'h', type: 'file', encoding: { typeFlag: 'x', claimedSize: 8 ** 11 - 1 } };
    expect(header).toBeDefined();
    expect(await decode([huge])).toBe('layer_corrupt');
  });

  test('that is no tar at all is refused', async () => {
    for (const raw of [Buffer.from('<html>not found</html>'), Buffer.alloc(4096, 'x'), Buffer.from([0x1f, 0x8b, 8, 0])])
      expect(await decode([{ raw }])).toBe('layer_corrupt');
  });
});

describe('an image', () => {
  const build = async (...entries: TarEntry[]) =>
    await codeOf(() =>
      withTemporaryDirectory(async (directory) => {
        const { directory: layer } = await decodeTar(directory, tarBuffer(entries));
        await buildRootfs({ layers: [layer], output: join(directory, 'rootfs.ext4') });
      }),
    );
  const sparse = (size: number): TarEntry => ({
    path: 'a',
    type: 'file',
    content: sparseContent(size, [], 0),
    encoding: { sparse: 'pax-1.0' },
  });

  test('holds files up to the largest that ext4 has, and no larger', async () => {
    const largest = (2 ** 32 - 1) * BLOCK;
    expect(await build(sparse(largest))).toBeUndefined();
    expect(await build(sparse(largest + 1))).toBe('layer_corrupt');
    expect(await build(sparse(2 ** 52))).toBe('layer_corrupt');
  });

  test('with attributes that do not fit a block is refused', async () => {
    const value = Buffer.alloc(4041, 1);
    expect(await build({ path: 'a', type: 'file', xattrs: [['user.a', value]] })).toBe('layer_corrupt');
  });

  test('whose lost+found is no directory gets one, and the other names of it stay', async () => {
    expect(
      await build({ path: 'lost+found', type: 'file' }, { path: 'other', type: 'link', target: 'lost+found' }),
    ).toBeUndefined();
  });

  test('may have a lost+found with an index, of fewer blocks than it has otherwise', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `lost+found/${index}-`.padEnd(260, 'n'));
    expect(await build(...names.map((path): TarEntry => ({ path, type: 'file' })))).toBeUndefined();
  });

  test('without layers has the mount points only', async () => {
    await withTemporaryDirectory(async (directory) => {
      const report = await buildRootfs({ layers: [], output: join(directory, 'rootfs.ext4') });
      expect(report.contentBytes).toBe(0);
    });
  });
});
