import { spawnSync } from 'node:child_process';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { toolEnvironment } from '../e2fsprogs.ts';
import { RootfsError } from '../error.ts';
import { BlockAllocator, type BlockRun } from '../ext4/allocator.ts';
import { Bitmap } from '../ext4/bitmap.ts';
import { measureContent } from '../ext4/content-measure.ts';
import { crc32c, crc32cWord, crc32cZeros } from '../ext4/crc32c.ts';
import { type DirectoryEntries, indexNodes, linearBlocks, planDirectory } from '../ext4/directory.ts';
import { type HashSeed, halfMd4 } from '../ext4/directory-hash.ts';
import { buildExtentTree, ExtentList, extentTreeBlocks, MAX_EXTENT } from '../ext4/extent.ts';
import { fileSystemGeometry } from '../ext4/geometry.ts';
import { deviceBlock } from '../ext4/inode-record.ts';
import { Numbering } from '../ext4/numbering.ts';
import { posixAclOnDisk } from '../ext4/posix-acl.ts';
import { sortByKey } from '../ext4/sort-by-key.ts';
import { Superblock } from '../ext4/superblock.ts';
import { attributeBlock, placeAttributes, toAttribute } from '../ext4/xattr.ts';
import type { LayerEntry } from '../layer/entry.ts';
import { ByteStrings } from '../tree/byte-strings.ts';
import { mergeLayers } from '../tree/merge.ts';
import { layerEntry } from './support/layer-entries.ts';
import type { TarEntry } from './support/tar-entry.ts';

const BLOCK = 4096;
const MIB = 1024 * 1024;

describe('CRC-32C', () => {
  const whole = (bytes: Uint8Array) => (crc32c(0xffff_ffff, bytes) ^ 0xffff_ffff) >>> 0;

  /** RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
  test.each([
    ['nothing', Buffer.alloc(0), 0],
    ['"123456789"', Buffer.from('123456789'), 0xe306_9283],
    ['32 zeros', Buffer.alloc(32), 0x8a91_36aa],
    ['32 ones', Buffer.alloc(32, 0xff), 0x62a8_ab43],
    ['0 to 31', Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd_794e],
    ['31 to 0', Buffer.from(Array.from({ length: 32 }, (_, index) => 31 - index)), 0x113f_db5c],
  ])('of %s', (_name, bytes, expected) => {
    expect(whole(bytes)).toBe(expected);
  });

  test('goes on where it stopped, whatever the cut', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
        const first = crc32c(7, bytes, 0, Math.min(cut, bytes.length));
        expect(crc32c(first, bytes, Math.min(cut, bytes.length))).toBe(crc32c(7, bytes));
      }),
    );
  });

  test('of zeros that are passed over is that of a walk over them', () => {
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), fc.oneof(fc.nat(BLOCK), fc.constantFrom(0, 1, BLOCK)), (seed, count) => {
        expect(crc32cZeros(seed, count)).toBe(crc32c(seed, Buffer.alloc(count)));
      }),
    );
    expect(() => crc32cZeros(1, BLOCK + 1)).toThrow(RangeError);
  });

  test('of a word is that of its bytes, lowest first', () => {
    expect(crc32cWord(5, 0xfedc_ba98)).toBe(crc32c(5, Buffer.from('98badcfe', 'hex')));
  });
});

test('numbers are sorted by their keys, those of one key as they were', () => {
  const key = fc.oneof(fc.constantFrom(0, 1, 256, 0x8000_0000, 0xffff_ffff), fc.integer({ min: 0, max: 0xffff_ffff }));
  fc.assert(
    fc.property(fc.array(key), fc.integer(), (keys, seed) => {
      const keyOf = Uint32Array.from(keys);
      const numbers = keys.map((_, number) => number).sort((a, b) => ((a * seed) % 7) - ((b * seed) % 7));
      const sorted = Uint32Array.from(numbers);
      sortByKey(sorted, keyOf);
      expect([...sorted]).toEqual(numbers.sort((a, b) => (keyOf[a] ?? 0) - (keyOf[b] ?? 0)));
    }),
  );
});

/** A directory of files with these names. */
function directoryEntries(names: readonly string[]): DirectoryEntries {
  const strings = new ByteStrings();
  return {
    strings,
    names: Uint32Array.from(names, (name) => strings.add(Buffer.from(name).toString('latin1'))),
    inodes: Uint32Array.from(names, (_, index) => index + 12),
    types: new Uint8Array(names.length).fill(1),
  };
}

function hashOfName(name: string, seed: HashSeed): number {
  const bytes = Buffer.from(`--${name}-`);
  return halfMd4(bytes, 2, bytes.length - 1, seed);
}

describe('the hash of names', () => {
  const seedText = '00112233-4455-6677-8899-aabbccddeeff';
  const seedBytes = Buffer.from(seedText.replaceAll('-', ''), 'hex');
  const seed = [0, 4, 8, 12].map((at) => seedBytes.readUInt32LE(at));
  const seedWords = [seed[0] ?? 0, seed[1] ?? 0, seed[2] ?? 0, seed[3] ?? 0] as const;
  const none = [0, 0, 0, 0] as const;

  /** As debugfs(8) `dx_hash` of e2fsprogs 1.47.0 says. */
  test.each([
    ['a', none, 0xd5fa_7d7a],
    ['abcd', none, 0xad75_57a8],
    ['hello', seedWords, 0x344c_a36e],
    ['héllo wörld with a name longer than 32 bytes ÿÿ', seedWords, 0x5c3d_1158],
  ])('%j', (name, words, expected) => {
    expect(hashOfName(name, words)).toBe(expected);
  });

  test('is that of debugfs for names of every length and of bytes over 127', () => {
    const random = fc.sample(fc.stringMatching(/^[A-Za-z0-9._éÿ文]{1,60}$/u), { numRuns: 200, seed: 4 });
    const names = [...random, ...Array.from({ length: 250 }, (_, index) => 'n'.repeat(index + 1))].filter(
      (name) => Buffer.byteLength(name) <= 255,
    );
    const { stdout } = spawnSync('debugfs', ['-f', '-'], {
      env: toolEnvironment(),
      encoding: 'utf8',
      input: names.map((name) => `dx_hash -h half_md4 -s ${seedText} ${name}\n`).join(''),
    });
    const stated = [...stdout.matchAll(/^Hash of (.*) is 0x([0-9a-f]+) /gm)].map(([, name, hash]) => [name, hash]);
    expect(stated).toEqual(names.map((name) => [name, hashOfName(name, seedWords).toString(16)]));
  });

  test('orders an indexed directory: leaves ascend, and one that shares its first hash says so', () => {
    const names = Array.from({ length: 20_000 }, (_, index) => `name-${index}`);
    const plan = planDirectory(directoryEntries(names), seedWords);
    expect(plan.indexed).toBe(true);
    expect([...plan.order].sort((a, b) => a - b)).toEqual(names.map((_, index) => index));
    const hashes = plan.leafStarts.map((start, leaf) =>
      [...plan.order.subarray(start, plan.leafStarts[leaf + 1])].map((entry) =>
        hashOfName(names[entry] ?? '', seedWords),
      ),
    );
    const all = hashes.flat();
    expect(all).toEqual([...all].sort((a, b) => a - b));
    for (const [index, start] of plan.leafHashes.entries()) {
      const before = hashes[index - 1]?.at(-1);
      const first = hashes[index]?.[0] ?? 0;
      expect(start).toBe(before === first ? first | 1 : first);
    }
  });

  test('is one that two leaves share where names of the same hash, also of a large one, lie on both sides', () => {
    const hashOf = (name: string) => hashOfName(name, seedWords);
    const same = ['57575', '67322'];
    expect(same.map(hashOf)).toEqual([0xe13d_2010, 0xe13d_2010]);
    const others = Array.from({ length: 1000 }, (_, index) => `${10_000 + index}`);
    // A leaf holds 255 of these names.
    const before = others.filter((name) => hashOf(name) < 0xe13d_2010).slice(0, 254);
    expect(planDirectory(directoryEntries([...before, ...same]), seedWords)).toMatchObject({
      indexed: true,
      leafStarts: [0, 255],
      leafHashes: [hashOf(before.sort((a, b) => hashOf(a) - hashOf(b))[0] ?? ''), 0xe13d_2011],
    });
  });

  test('is measured by the lengths of names as it is planned', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 255 }), { maxLength: 90 }), (lengths) => {
        const names = lengths.map((length) => 'n'.repeat(length));
        const { blocks, indexed } = planDirectory(directoryEntries(names), seedWords);
        expect(linearBlocks(lengths)).toBe(indexed ? undefined : blocks);
      }),
      // All but the last take 3960 of 4084 bytes; `.` and `..` take 24.
      { examples: [92, 93, 116, 117].map((last) => [[...Array.from({ length: 15 }, () => 255), last]]) },
    );
  });
});

/** Where the extents that a tree holds start on the disk, by walking it as the kernel does, and its depth. */
function walk(root: Buffer, blocks: Map<number, Buffer>): { starts: number[]; depth: number } {
  const depth = root.readUInt16LE(6);
  const starts: number[] = [];
  const visit = (node: Buffer, level: number) => {
    expect(node.readUInt16LE(0)).toBe(0xf30a);
    expect(node.readUInt16LE(6)).toBe(level);
    const entries = node.readUInt16LE(2);
    expect(entries).toBeLessThanOrEqual(node.readUInt16LE(4));
    for (let at = 12; at < 12 + entries * 12; at += 12) {
      if (level === 0) {
        starts.push(node.readUInt32LE(at + 8) + node.readUInt16LE(at + 6) * 2 ** 32);
        continue;
      }
      const child = blocks.get(node.readUInt32LE(at + 4) + node.readUInt16LE(at + 8) * 2 ** 32);
      if (child === undefined) throw new Error('an index entry leads nowhere');
      expect(child.readUInt32LE(12)).toBe(node.readUInt32LE(at));
      visit(child, level - 1);
    }
  };
  visit(root, depth);
  return { starts, depth };
}

test('an index has a root and one level of nodes at most: 507 of 510 leaves each', () => {
  expect([507, 508, 510 * 507].map(indexNodes)).toEqual([0, 1, 507]);
  expect(() => indexNodes(510 * 507 + 1)).toThrow(expect.objectContaining({ code: 'image_too_large' }));
});

describe('extent trees', () => {
  const far = 2 ** 32 + 5;
  const startOf = (index: number) => far * 2 + 3 * index;
  const treeOf = (count: number) => {
    const extents = new ExtentList();
    for (let index = 0; index < count; index++) extents.add(2 * index, startOf(index), 1);
    let next = far;
    const tree = buildExtentTree(extents, 1, () => next++);
    return { tree, ...walk(tree.root, new Map(tree.blocks.map(({ block, bytes }) => [block, bytes]))) };
  };

  /** 340 extents or index entries fit a block, 4 the inode. */
  test.each([
    [0, 0],
    [4, 0],
    [5, 1],
    [340, 1],
    [4 * 340, 1],
    [4 * 340 + 1, 2],
    [4 * 340 * 340, 2],
    [4 * 340 * 340 + 1, 3],
  ])('of %d extents have depth %d and lose none', (count, depth) => {
    const built = treeOf(count);
    expect(built.depth).toBe(depth);
    expect(built.starts.length).toBe(count);
    expect(built.starts.every((start, index) => start === startOf(index))).toBe(true);
    expect(built.tree.blocks.length).toBe(extentTreeBlocks(count));
    expect(built.tree.root.length).toBe(60);
  });

  test('come of lists in which what is adjacent is one extent, up to the longest', () => {
    const run = fc.tuple(fc.nat(2), fc.nat(2), fc.integer({ min: 1, max: 3 * MAX_EXTENT }));
    fc.assert(
      fc.property(fc.array(run, { maxLength: 20 }), (runs) => {
        const list = new ExtentList();
        let [fileBlock, start] = [0, 100];
        const expected: [number, number][] = [];
        for (const [holeInFile, holeOnDisk, blocks] of runs) {
          fileBlock += holeInFile;
          start += holeOnDisk;
          list.add(fileBlock, start, blocks);
          for (let at = 0; at < blocks; at += 4096) expected.push([fileBlock + at, start + at]);
          fileBlock += blocks;
          start += blocks;
        }
        const extents = Array.from({ length: list.length }, (_, index) => ({
          fileBlock: list.fileBlock(index),
          start: list.start(index),
          blocks: list.blocks(index),
        }));
        const diskBlock = (block: number) => {
          const extent = extents.find(({ fileBlock: first, blocks }) => first <= block && block < first + blocks);
          return extent === undefined ? undefined : extent.start + block - extent.fileBlock;
        };
        expect(expected.filter(([block, disk]) => diskBlock(block) !== disk)).toEqual([]);
        expect(list.totalBlocks).toBe(runs.reduce((sum, [, , blocks]) => sum + blocks, 0));
        expect(extents.reduce((sum, { blocks }) => sum + blocks, 0)).toBe(list.totalBlocks);
        expect(extents.every(({ blocks }) => blocks > 0 && blocks <= MAX_EXTENT)).toBe(true);
        for (const [index, next] of extents.entries()) {
          const before = extents[index - 1];
          if (before === undefined || before.blocks === MAX_EXTENT) continue;
          const adjacent = before.fileBlock + before.blocks === next.fileBlock;
          expect(adjacent && before.start + before.blocks === next.start).toBe(false);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('blocks', () => {
  const runs = fc
    .array(fc.tuple(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 50 })), { maxLength: 20 })
    .map((pairs) => {
      let at = 0;
      return pairs.map(([gap, blocks]): BlockRun => {
        const start = at + gap;
        at = start + blocks;
        return [start, blocks];
      });
    });
  const numbers = (list: readonly BlockRun[]) =>
    list.flatMap(([start, blocks]) => Array.from({ length: blocks }, (_, index) => start + index));

  test('are handed out in order, each once, until there are none', () => {
    fc.assert(
      fc.property(runs, fc.array(fc.integer({ min: 0, max: 80 }), { maxLength: 20 }), (free, requests) => {
        const allocator = new BlockAllocator(free);
        const left = numbers(free);
        for (const request of requests) {
          if (request > left.length) {
            expect(() => allocator.take(request)).toThrow(RootfsError);
            return;
          }
          const place = allocator.take(request);
          const runs = [...allocator.runsAt(place, request)];
          expect(numbers(runs)).toEqual(left.splice(0, request));
          if (request > 0) expect(allocator.blockAt(place)).toBe(runs[0]?.[0]);
        }
        const taken = numbers(free).slice(0, allocator.takenBlocks);
        expect(numbers([...allocator.runsAt(0, allocator.takenBlocks)])).toEqual(taken);
      }),
    );
  });

  test('that a bitmap has free are those that were not set', () => {
    fc.assert(
      fc.property(runs, fc.integer({ min: 1, max: 2200 }), (used, blocks) => {
        const bitmap = new Bitmap(blocks, 512);
        const inside = used.filter(([start, count]) => start + count <= blocks);
        for (const [start, count] of inside) bitmap.set(start, count);
        const taken = new Set(numbers(inside));
        const free = Array.from({ length: blocks }, (_, index) => index).filter((block) => !taken.has(block));
        expect(numbers(bitmap.freeRuns())).toEqual(free);
        expect(bitmap.countUsed(0, bitmap.bytes.length * 8)).toBe(bitmap.bytes.length * 8 - free.length);
        for (const [start, count] of inside) bitmap.clear(start, count);
        expect(bitmap.freeRuns()).toEqual([[0, blocks]]);
      }),
    );
  });

  test('have numbers of 32 bits: past 8 TiB as below', () => {
    const [blocks, group] = [2 ** 31 + 3 * 32_768, 32_768];
    const bitmap = new Bitmap(blocks, group);
    bitmap.set(2 ** 31 - 3, 20);
    bitmap.clear(2 ** 31 + 1, 2);
    expect(bitmap.freeRuns()).toEqual([
      [0, 2 ** 31 - 3],
      [2 ** 31 + 1, 2],
      [2 ** 31 + 17, 3 * 32_768 - 17],
    ]);
    expect(bitmap.countUsed(2 ** 31, group)).toBe(15);
  });

  test('of groups past the 65,535th have copies of the superblock that say 65,535', () => {
    const bytes = Buffer.alloc(1024);
    bytes.writeUInt16LE(0xef53, 56);
    const superblock = new Superblock(bytes);
    expect(superblock.copyFor(3 ** 10).readUInt16LE(90)).toBe(3 ** 10);
    expect(superblock.copyFor(5 ** 7).readUInt16LE(90)).toBe(65_535);
  });
});

test('content takes a block for each directory, long symlink, and file with much of attributes, or of extents, besides data', () => {
  const symlink = (path: string, length: number): TarEntry => ({ path, type: 'symlink', target: 't'.repeat(length) });
  const attributes = (path: string, length: number): TarEntry => ({
    path,
    type: 'file',
    xattrs: [['user.a', Buffer.alloc(length)]],
  });
  const measured = (...entries: LayerEntry[]) => {
    const { blocks, dataBytes } = measureContent(new Numbering(mergeLayers([entries])));
    return [blocks, dataBytes];
  };
  const fileOf = (runs: LayerEntry['runs']): LayerEntry => ({ ...layerEntry({ path: 'f', type: 'file' }), runs });
  const four = [0, 1, 2, 3].flatMap((run) => [3 * run, 2 * run, 2]);
  // The root itself is one.
  expect(measured()).toEqual([1, 0]);
  expect(measured(layerEntry({ path: 'd', type: 'directory' }))).toEqual([2, 0]);
  expect(measured(layerEntry(symlink('s', 59)))).toEqual([1, 0]);
  expect(measured(layerEntry(symlink('s', 60)))).toEqual([2, 0]);
  expect(measured(layerEntry(attributes('a', 68)))).toEqual([1, 0]);
  expect(measured(layerEntry(attributes('a', 69)))).toEqual([2, 0]);
  expect(measured(fileOf(four))).toEqual([1 + 8, 8 * BLOCK]);
  expect(measured(fileOf([...four, 12, 8, 2]))).toEqual([1 + 10 + 1, 10 * BLOCK]);
});

describe('the size of a file system', () => {
  test('is 512 MiB at least, 30 % more than the content above that', () => {
    expect(fileSystemGeometry(0, 10, undefined).blocks * BLOCK).toBe(512 * MIB);
    const large = fileSystemGeometry((4096 * MIB) / BLOCK, 1000, undefined);
    expect(large.blocks * BLOCK).toBeGreaterThan(1.3 * 4096 * MIB);
    expect(large.blocks * BLOCK).toBeLessThan(1.35 * 4096 * MIB);
  });

  test('is exactly what is asked for, in whole blocks', () => {
    expect(fileSystemGeometry(10, 10, 64 * MIB + 4095).blocks).toBe((64 * MIB) / BLOCK);
  });

  test('is 16 MiB at least when one is asked for: less has no room for a journal', () => {
    expect(fileSystemGeometry(10, 10, 16 * MIB)).toMatchObject({ blocks: 4096, journalMebibytes: 4 });
    expect(() => fileSystemGeometry(10, 10, 16 * MIB - 1)).toThrow('16MiB or more');
  });

  test('has inodes for all entries and some more', () => {
    expect(fileSystemGeometry(0, 500_000, undefined).inodes).toBeGreaterThanOrEqual(600_000);
    expect(fileSystemGeometry(0, 10, undefined).inodes).toBe((512 * MIB) / 16_384);
  });
});

describe('attributes', () => {
  const attribute = (name: string, length: number) => toAttribute('file', name, 'v'.repeat(length));

  test('of a name that ext4 does not know are none', () => {
    for (const name of ['system.nfs4_acl', 'other.a', 'user.', 'user', '', `user.${'x'.repeat(256)}`])
      expect(attribute(name, 1)).toBeUndefined();
    expect(attribute(`user.${'x'.repeat(255)}`, 1)?.name.length).toBe(255);
  });

  test('of a symlink are those of the system, but no ACL, and none of a user', () => {
    const kept = ['trusted.a', 'security.a', 'user.a', 'system.posix_acl_access', 'system.posix_acl_default'].filter(
      (name) => toAttribute('symlink', name, '\x02\0\0\0') !== undefined,
    );
    expect(kept).toEqual(['trusted.a', 'security.a']);
  });

  test('fill the inode, then a block, and not more', () => {
    const place = (...list: ReturnType<typeof attribute>[]) =>
      placeAttributes(list.flatMap((one) => (one === undefined ? [] : [one])));
    // 256 - 160 bytes, less the magic and the end of the list, less an entry with a name of one byte.
    expect(place(attribute('user.a', 68))?.inBlock).toEqual([]);
    expect(place(attribute('user.a', 69))?.inBlock).toHaveLength(1);
    // 4096 bytes, less the header and the end of the list, less the same.
    expect(place(attribute('user.a', 4040))?.inBlock).toHaveLength(1);
    expect(place(attribute('user.a', 4041))).toBeUndefined();
  });

  // What e2fsck 1.46 wants on x86; that of 1.47 takes it too, as the images with such names show that are checked elsewhere.
  test('have no hash in the inode, and in a block that of signed bytes', () => {
    const short = [toAttribute('file', 'user.\xc3\xa9', 'v')].flatMap((one) => one ?? []);
    const long = [toAttribute('file', 'user.\xc3\xa9', 'v'.repeat(100))].flatMap((one) => one ?? []);
    expect(placeAttributes(short)?.inInode.readUInt32LE(4 + 12)).toBe(0);
    // -61 and -87, then 25 words of 'vvvv'.
    let hash = ((-61 << 5) ^ (-61 >>> 27) ^ -87) >>> 0;
    for (let word = 0; word < 25; word++) hash = ((hash << 16) ^ (hash >>> 16) ^ 0x76767676) >>> 0;
    expect(attributeBlock(long, 1, 0).readUInt32LE(32 + 12)).toBe(hash);
  });

  test('with an ACL are rewritten to the form on disk, ids for named users and groups only', () => {
    const [user, group, mask, other] = ['01000600ffffffff', '04000500ffffffff', '10000700ffffffff', '20000400ffffffff'];
    const named = ['02000700e8030000', '0800050070110100'];
    expect(onDisk(user, named[0], group, named[1], mask, other)).toBe(
      ['01000000', '01000600', named[0], '04000500', named[1], '10000700', '20000400'].join(''),
    );
    expect(onDisk(user, group, other)).toBe(['01000000', '01000600', '04000500', '20000400'].join(''));
    expect(onDisk(user, group, mask, other)).toBe(
      ['01000000', '01000600', '04000500', '10000700', '20000400'].join(''),
    );
    expect(onDisk()).toBe('01000000');
  });

  // setxattr(2) says EINVAL to each of these; found on a disk, some make open(2) say it, or EIO.
  test.each([
    [[], '03000000'],
    [[], '0200'],
    [['01'], undefined],
    [['01000600ffffffff', '04000500ffffffff'], undefined],
    [['01000600ffffffff', '02000700e8030000', '04000500ffffffff', '20000400ffffffff'], undefined],
    [['01000600ffffffff', '03000700e8030000', '04000500ffffffff', '10000700ffffffff', '20000400ffffffff'], undefined],
    [['01000600ffffffff', '02000700ffffffff', '04000500ffffffff', '10000700ffffffff', '20000400ffffffff'], undefined],
    [['01000800ffffffff', '04000500ffffffff', '20000400ffffffff'], undefined],
    [['20000400ffffffff', '04000500ffffffff', '01000600ffffffff'], undefined],
  ])('with an ACL that is none have none: %#', (entries, version) => {
    expect(posixAclOnDisk(Buffer.from((version ?? '02000000') + entries.join(''), 'hex'))).toBeUndefined();
  });

  // Revision and length are all that execve(2) looks at before it says EINVAL.
  test.each([
    ['01000001', 8, true],
    ['01000002', 16, true],
    ['00000003', 20, true],
    ['01000002', 17, false],
    ['01000003', 16, false],
    ['01000004', 20, false],
    ['', 0, false],
  ])('with a file capability of revision %s and %i bytes more are one: %s', (revision, more, isOne) => {
    const value = Buffer.concat([Buffer.from(revision, 'hex'), Buffer.alloc(more)]).toString('latin1');
    expect(toAttribute('file', 'security.capability', value) !== undefined).toBe(isOne);
  });

  function onDisk(...entries: readonly (string | undefined)[]): string | undefined {
    return posixAclOnDisk(Buffer.from(`02000000${entries.join('')}`, 'hex'))?.toString('hex');
  }
});

test('device numbers have the old form where they fit it, else the new', () => {
  expect(deviceBlock(1, 3).toString('hex', 0, 8)).toBe('0301000000000000');
  expect(deviceBlock(255, 255).toString('hex', 0, 8)).toBe('ffff000000000000');
  expect(deviceBlock(259, 262_143).toString('hex', 0, 8)).toBe('00000000ff03f13f');
});
