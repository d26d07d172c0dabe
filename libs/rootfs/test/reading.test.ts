/**
 * What the decoder makes of tars of every kind, for as long as LAYER_FORMAT is the number below. Where a line here has to change, raise
 * the number, in `layer/layer-format.ts` and here: layers that hold the old reading are in the caches of those who run this. A new
 * entry of the corpus, at its end, changes no other line, and needs no new number.
 */
import { createHash } from 'node:crypto';
import { readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { isCurrentLayer } from '@bhatti/rootfs';
import { expect, test } from '@jest/globals';
import { copyData } from '../ext4/data-copy.ts';
import { LAYER_FORMAT } from '../layer/layer-format.ts';
import { readLayerIndex } from '../layer/layer-index.ts';
import { decodeTar } from './support/decode.ts';
import type { SparseFormat } from './support/tar-entry.ts';
import { paxBlocks, type TarItem, tarBuffer } from './support/tar-writer.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const block = (byte: string) => Buffer.alloc(4096, byte);
const zeros = Buffer.alloc(4096);
const holey = Buffer.concat([zeros, block('a'), zeros, zeros, block('b'), zeros]);

const sparse = (format: SparseFormat): TarItem => ({
  path: `sparse-${format}`,
  type: 'file',
  content: {
    size: holey.length,
    read: (offset, length) => holey.subarray(offset, offset + length),
    fragments: [
      { offset: 4096, length: 4096 },
      { offset: 16384, length: 4096 },
    ],
  },
  encoding: { format: format === 'gnu' ? 'gnu' : 'pax', sparse: format },
});

const corpus: readonly TarItem[] = [
  { path: './', type: 'directory', mode: 0o1777 },
  { path: '/d/', type: 'directory', uid: 1, gid: 2, mtime: 1_700_000_000_123_456_789n },
  { path: 'd/file', type: 'file', mode: 0o6755, content: Buffer.from('text') },
  { path: 'd/holes', type: 'file', content: holey },
  { path: 'd/zeros', type: 'file', content: Buffer.alloc(5000) },
  { path: 'd/empty', type: 'file' },
  { path: 'd/./x/../hard', type: 'link', target: './d/file' },
  { path: 'd/soft', type: 'symlink', target: '../../d//file' },
  { path: 'd/character', type: 'character-device', deviceMajor: 1, deviceMinor: 3 },
  { path: 'd/block', type: 'block-device', deviceMajor: 4095, deviceMinor: 1_048_575 },
  { path: 'd/fifo', type: 'fifo' },
  { path: 'd/.wh.gone', type: 'file' },
  { path: 'd/.wh..wh..opq', type: 'file' },
  { path: Buffer.from('latin-\xe9', 'latin1'), type: 'file' },
  { path: 'before-1970', type: 'file', mtime: -1_500_000_000n },
  {
    path: 'base-256',
    type: 'file',
    uid: 2 ** 31,
    mtime: -(10n ** 9n),
    encoding: { format: 'gnu', numbers: 'base-256' },
  },
  { path: 'spaced', type: 'file', mode: 0o644, encoding: { format: 'ustar', numbers: 'octal-space' } },
  { path: `${'p'.repeat(90)}/${'n'.repeat(90)}`, type: 'file', encoding: { format: 'ustar' } },
  { path: 'g'.repeat(120), type: 'symlink', target: 't'.repeat(120), encoding: { format: 'gnu' } },
  { path: 'x'.repeat(120), type: 'symlink', target: 'y'.repeat(120) },
  { path: 'old/', type: 'file', encoding: { format: 'v7', typeFlag: '\0' } },
  { path: 'old-file', type: 'file', content: Buffer.from('o'), encoding: { format: 'v7', typeFlag: '\0' } },
  { path: 'contiguous', type: 'file', content: Buffer.from('c'), encoding: { typeFlag: '7' } },
  { path: 'nobody', type: 'file', uid: 2 ** 32 - 1, gid: 2 ** 32 - 1 },
  {
    path: 'attributes',
    type: 'file',
    xattrs: [
      ['user.b', Buffer.from([0, 255, 10])],
      ['security.capability', Buffer.from('any')],
      ['user.a', Buffer.alloc(0)],
    ],
  },
  {
    path: 'records',
    type: 'file',
    encoding: {
      extraRecords: [
        ['path', 'first'],
        ['path', ''],
        ['uid', '5'],
        ['uid', '6'],
        ['atime', '7'],
        ['SCHILY.xattr.user.twice', '1'],
        ['SCHILY.xattr.user.twice', '2'],
      ],
    },
  },
  { raw: Buffer.concat([...paxBlocks('g', 'global', [['mtime', '5']])]) },
  { path: 'after-global', type: 'file' },
  sparse('gnu'),
  sparse('pax-0.0'),
  sparse('pax-0.1'),
  sparse('pax-1.0'),
  { raw: Buffer.concat([...paxBlocks('x', 'before', [['path', 'pax/']])]) },
  {
    path: 'f'.repeat(120),
    type: 'file',
    target: 'u'.repeat(120),
    encoding: { format: 'gnu', typeFlag: '\0', extraRecords: [['linkpath', 'pax']] },
  },
  { path: 'acl', type: 'file', encoding: { extraRecords: [['SCHILY.acl.access', 'user::rw-,user:7:r--']] } },
  { path: 'nuls', type: 'file', mode: 0o600, encoding: { fields: { mode: Buffer.from('\0\x30\x300600\0') } } },
  { path: 'of-go', type: 'file', encoding: { format: 'gnu', fields: { prefix: Buffer.from('some/prefix') } } },
  { path: 'below-0', type: 'file', encoding: { extraRecords: [['uid', '-2']] } },
  {
    path: 'to-come',
    type: 'file',
    encoding: {
      extraRecords: [
        ['GNU.sparse.major', '2'],
        ['GNU.sparse.name', 'another'],
      ],
    },
  },
  {
    path: 'plus',
    type: 'file',
    encoding: {
      extraRecords: [
        ['uid', '+7'],
        ['mtime', '+8.5'],
      ],
    },
  },
  {
    raw: Buffer.concat([
      ...paxBlocks('x', 'before', [['path', 'not-this']]),
      ...paxBlocks('g', 'global', [['uid', '5']]),
    ]),
  },
  { path: 'after-both', type: 'file' },
];

/** Of each entry of the corpus, its line in the index; and the SHA-256 of all data. */
const reading = {
  format: 7,
  data: '2d4c77fc01c328a97b256ecd5bac0f94657c2222a1e43440634ce2bba49b31e2',
  entries: [
    '["d","",1023,0,0,0,0,0,[],"",0,0,[]]',
    '["d","d",493,1,2,1700000000,123456789,0,[],"",0,0,[]]',
    '["f","d/file",3565,0,0,0,0,4,[0,0,1],"",0,0,[]]',
    '["f","d/holes",420,0,0,0,0,24576,[1,1,1,4,2,1],"",0,0,[]]',
    '["f","d/zeros",420,0,0,0,0,5000,[],"",0,0,[]]',
    '["f","d/empty",420,0,0,0,0,0,[],"",0,0,[]]',
    '["l","d/hard",420,0,0,0,0,0,[],"d/file",0,0,[]]',
    '["s","d/soft",420,0,0,0,0,0,[],"../../d//file",0,0,[]]',
    '["c","d/character",420,0,0,0,0,0,[],"",1,3,[]]',
    '["b","d/block",420,0,0,0,0,0,[],"",4095,1048575,[]]',
    '["p","d/fifo",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","d/.wh.gone",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","d/.wh..wh..opq",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","latin-\xe9",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","before-1970",420,0,0,-2,500000000,0,[],"",0,0,[]]',
    '["f","base-256",420,2147483648,0,-1,0,0,[],"",0,0,[]]',
    '["f","spaced",420,0,0,0,0,0,[],"",0,0,[]]',
    `["f","${'p'.repeat(90)}/${'n'.repeat(90)}",420,0,0,0,0,0,[],"",0,0,[]]`,
    `["s","${'g'.repeat(120)}",420,0,0,0,0,0,[],"${'t'.repeat(120)}",0,0,[]]`,
    `["s","${'x'.repeat(120)}",420,0,0,0,0,0,[],"${'y'.repeat(120)}",0,0,[]]`,
    '["d","old",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","old-file",420,0,0,0,0,1,[0,3,1],"",0,0,[]]',
    '["f","contiguous",420,0,0,0,0,1,[0,4,1],"",0,0,[]]',
    '["f","nobody",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","attributes",420,0,0,0,0,0,[],"",0,0,[["security.capability","any"],["user.a",""],["user.b","\\u0000\xff\\n"]]]',
    '["f","records",420,6,0,0,0,0,[],"",0,0,[["user.twice","2"]]]',
    '["f","after-global",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","sparse-gnu",420,0,0,0,0,24576,[1,5,1,4,6,1],"",0,0,[]]',
    '["f","sparse-pax-0.0",420,0,0,0,0,24576,[1,7,1,4,8,1],"",0,0,[]]',
    '["f","sparse-pax-0.1",420,0,0,0,0,24576,[1,9,1,4,10,1],"",0,0,[]]',
    '["f","sparse-pax-1.0",420,0,0,0,0,24576,[1,11,1,4,12,1],"",0,0,[]]',
    `["f","${'f'.repeat(120)}",420,0,0,0,0,0,[],"",0,0,[]]`,
    '["f","acl",420,0,0,0,0,0,[],"",0,0,[["SCHILY.acl.access",""]]]',
    '["f","nuls",384,0,0,0,0,0,[],"",0,0,[]]',
    '["f","some/prefix/of-go",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","below-0",420,4294967294,0,0,0,0,[],"",0,0,[]]',
    '["f","to-come",420,0,0,0,0,0,[],"",0,0,[]]',
    '["f","plus",420,7,0,8,500000000,0,[],"",0,0,[]]',
    '["f","after-both",420,0,0,0,0,0,[],"",0,0,[]]',
  ],
};

/** CRC-32 of all lines of an index but the last. */
function checksumOf(index: string): number {
  return crc32(Buffer.from(index.slice(0, index.lastIndexOf('\n', index.length - 2) + 1), 'latin1'));
}

test('the reading of tars has the number that it had', async () => {
  await withTemporaryDirectory(async (directory) => {
    const decoded = await decodeTar(directory, tarBuffer(corpus));
    const index = await readFile(join(decoded.directory, 'index'), 'latin1');
    const [, ...entries] = index.trimEnd().split('\n');
    expect(entries.pop()).toBe(`{"checksum":${checksumOf(index)}}`);
    const data = createHash('sha256')
      .update(await readFile(join(decoded.directory, 'data')))
      .digest('hex');
    expect({ format: LAYER_FORMAT, data, entries }).toEqual(reading);
  });
});

test('a layer of another reading is told from ours, and so is what is no layer', async () => {
  await withTemporaryDirectory(async (directory) => {
    const decoded = await decodeTar(directory, tarBuffer(corpus));
    expect(await isCurrentLayer(decoded.directory)).toBe(true);
    const index = join(decoded.directory, 'index');
    const [head = '', ...lines] = (await readFile(index, 'latin1')).split('\n');
    for (const other of [head.replace(`:${LAYER_FORMAT},`, `:${LAYER_FORMAT + 1},`), head.slice(0, -1), '', '[]']) {
      await writeFile(index, [other, ...lines].join('\n'), 'latin1');
      expect([other, await isCurrentLayer(decoded.directory)]).toEqual([other, false]);
    }
    for (const cut of ['', head]) {
      await writeFile(index, cut);
      expect(await isCurrentLayer(decoded.directory)).toBe(false);
    }
    expect(await isCurrentLayer(join(directory, 'nowhere'))).toBe(false);
  });
});

test('a decoded layer that is not all there is told as damaged', async () => {
  await withTemporaryDirectory(async (directory) => {
    const decoded = await decodeTar(directory, tarBuffer(corpus));
    const [index, data] = [join(decoded.directory, 'index'), join(decoded.directory, 'data')];
    const [text, bytes] = [await readFile(index, 'latin1'), await readFile(data)];
    const lines = text.split('\n');
    const row: unknown[] = JSON.parse(lines[3] ?? '');
    const read = () => [...readLayerIndex(decoded.directory).entries];
    const damage = { code: 'layer_damaged', retryable: true, damagedLayer: decoded.directory };
    const expectDamage = async (index_: string) => {
      await writeFile(index, index_, 'latin1');
      expect(read).toThrow(expect.objectContaining(damage));
    };
    for (let length = 0; length < text.length; length += 17) await expectDamage(text.slice(0, length));
    for (let line = 0; line < lines.length - 1; line++) {
      for (const other of [
        [],
        [''],
        ['\0'.repeat(20)],
        ['{}'],
        ['[]'],
        ['null'],
        ['{"checksum":0}'],
        [lines[line]?.slice(1)],
      ])
        await expectDamage(lines.toSpliced(line, 1, ...other.map((one) => one ?? '')).join('\n'));
    }
    for (let at = 0; at < text.length; at += 31) {
      const flipped = Buffer.from(text, 'latin1');
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
      await expectDamage(flipped.toString('latin1'));
    }
    const wrong: [column: number, value: unknown][] = [
      [0, 'x'],
      [0, 1],
      [1, null],
      [2, -1],
      [3, 1.5],
      [8, [[0, 1]]],
      [8, [[0, 2 ** 40, 1]]],
      [12, [['a']]],
    ];
    for (const [column, value] of wrong) {
      const other = lines.with(3, JSON.stringify(row.with(column, value))).join('\n');
      await expectDamage(other.replace(/\d+\}\n$/, `${checksumOf(other)}}\n`));
    }
    await writeFile(data, bytes.subarray(0, -1));
    await expectDamage(text);
    // Also what comes to be so between that and the copying.
    const image = join(directory, 'image');
    await writeFile(image, '');
    const all = { layer: 0, from: 0, to: 0, blocks: bytes.length / 4096 };
    await expect(copyData([all], [decoded.directory], image)).rejects.toMatchObject(damage);
    await rm(data);
    expect(await isCurrentLayer(decoded.directory)).toBe(false);
    await writeFile(data, bytes);
    expect(read()).toEqual(decoded.entries);
    // What the disk does not read, as nothing is mapped where its first bytes would be: EIO.
    await rm(data);
    await symlink('/proc/self/mem', data);
    await expect(copyData([all], [decoded.directory], image)).rejects.toMatchObject(damage);
    await rm(index);
    await symlink('/proc/self/mem', index);
    expect(read).toThrow(expect.objectContaining(damage));
    expect(await isCurrentLayer(decoded.directory)).toBe(false);
  });
});
