import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ByteStrings } from '../tree/byte-strings.ts';
import { NameTable } from '../tree/name-table.ts';
import { Tree } from '../tree/tree.ts';

const ATTRIBUTES = { mode: 0o644, uid: 1, gid: 2, mtimeSeconds: -3, mtimeNanoseconds: 4, xattrs: [] };
const NOTHING = { size: 0, runs: [], target: '', deviceMajor: 0, deviceMinor: 0 };

describe('byte strings', () => {
  const text = fc.oneof(
    fc.constantFrom('', 'a', '\u00ff\u0000', 'x'.repeat(255)),
    fc.integer({ min: 0, max: 65_535 }).map((length) => String.fromCharCode(length & 0xff).repeat(length)),
  );

  test('come back as they were added, also from another list and over many chunks', () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 40 }), (texts) => {
        const first = new ByteStrings();
        const second = new ByteStrings();
        const added = texts.map((one) => first.add(one));
        const copied = added.map((at) => second.addFrom(first, at));
        expect(added.map((at) => first.textOf(at))).toEqual(texts);
        first.release();
        expect(copied.map((at) => second.textOf(at))).toEqual(texts);
        expect(copied.every((at, i) => second.isText(at, texts[i] ?? '') && !second.isText(at, '-'))).toBe(true);
      }),
    );
  });
});

describe('names', () => {
  const change = fc.record({
    add: fc.boolean(),
    directory: fc.integer({ min: 1, max: 3 }),
    text: fc.constantFrom('a', 'b', 'ab', 'ba', 'a'.repeat(255), '\u00ff', '\u0001'),
    inode: fc.integer({ min: 4, max: 9 }),
  });

  test('are found, and kept in order, as in a map for each directory', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 80 }), (changes) => {
        const names = new NameTable(new ByteStrings());
        const expected = new Map([1, 2, 3].map((directory) => [directory, new Map<string, number>()]));
        for (const { add, directory, text, inode } of changes) {
          const name = names.find(directory, text);
          if (name > 0) names.remove(name);
          expected.get(directory)?.delete(text);
          if (!add) continue;
          names.add(directory, text, inode, 0);
          expected.get(directory)?.set(text, inode);
        }
        for (const [directory, children] of expected) {
          const found: [string, number][] = [];
          for (let name = names.first(directory); name > 0; name = names.next(name)) {
            found.push([names.text(name), names.inode(name)]);
            expect(names.find(directory, names.text(name))).toBe(name);
          }
          expect(found).toEqual([...children]);
        }
      }),
    );
  });

  test('of a directory of 100,000 are each found, and gone when they are taken away', () => {
    const names = new NameTable(new ByteStrings());
    const texts = Array.from({ length: 100_000 }, (_, index) => `name-${index}`);
    for (const [index, text] of texts.entries()) names.add(1, text, index + 2, 0);
    expect(texts.every((text, index) => names.inode(names.find(1, text)) === index + 2)).toBe(true);
    for (const text of texts.slice(0, 50_000)) names.remove(names.find(1, text));
    expect(texts.findIndex((text) => names.find(1, text) > 0)).toBe(50_000);
    expect(names.find(2, 'name-60000')).toBe(0);
  });
});

describe('a tree', () => {
  const withFile = (tree: Tree, name: string) => {
    const runs = [0, 7, 2, 5, 9, 1];
    tree.put(tree.root, name, tree.inodes.add('file', ATTRIBUTES, 3, { ...NOTHING, size: 22_000, runs }), 3);
  };

  test('keeps of an inode what it is given', () => {
    const tree = new Tree();
    withFile(tree, 'f');
    const { inodes } = tree;
    const file = tree.child(tree.root, 'f') ?? 0;
    const runs: number[][] = [];
    inodes.forEachRun(file, (...run) => runs.push(run));
    expect(runs).toEqual([
      [0, 7, 2],
      [5, 9, 1],
    ]);
    expect([inodes.firstDataBlock(file), inodes.layer(file), inodes.size(file)]).toEqual([7, 3, 22_000]);
    expect([inodes.type(file), inodes.mode(file), inodes.uid(file), inodes.gid(file)]).toEqual(['file', 0o644, 1, 2]);
    expect([inodes.mtimeSeconds(file), inodes.mtimeNanoseconds(file)]).toEqual([-3, 4]);

    const device = inodes.add('block-device', ATTRIBUTES, 0, { ...NOTHING, deviceMajor: 4095, deviceMinor: 1_048_575 });
    expect([inodes.deviceMajor(device), inodes.deviceMinor(device)]).toEqual([4095, 1_048_575]);
  });

  test('uses the room of what is gone, and does not grow with the layers that replace everything', () => {
    const tree = new Tree();
    const target = 't'.repeat(4000);
    for (let layer = 0; layer < 50; layer++) {
      for (let file = 0; file < 100; file++) {
        withFile(tree, `a-name-of-some-length-${file}`);
        const link = tree.inodes.add('symlink', ATTRIBUTES, layer, { ...NOTHING, target });
        tree.put(tree.root, `link-${file}`, link, layer);
      }
      tree.tidy();
    }
    expect(tree.inodes.end).toBeLessThan(210);
    expect(tree.names.strings.bytes).toBeLessThan(5_000_000);
    expect(tree.inodes.count).toBe(201);
    for (let file = 0; file < 100; file++) {
      expect(tree.inodes.target(tree.child(tree.root, `link-${file}`) ?? 0)).toBe(target);
      expect(tree.inodes.type(tree.child(tree.root, `a-name-of-some-length-${file}`) ?? 0)).toBe('file');
    }
  });

  test('holds extended attributes up to a limit; those that are replaced or gone do not count', () => {
    const tree = new Tree();
    const attributes = { ...ATTRIBUTES, xattrs: [['user.a', 'v'.repeat(2 ** 20)] as const] };
    for (let layer = 0; layer < 1000; layer++) {
      tree.inodes.setAttributes(tree.root, attributes);
      tree.put(tree.root, 'a', tree.inodes.add('file', attributes, layer, NOTHING), layer);
    }
    const addMany = () => {
      for (let file = 0; file < 511; file++) tree.inodes.add('file', attributes, 0, NOTHING);
    };
    expect(addMany).toThrow(expect.objectContaining({ code: 'image_too_large' }));
  });

  test('gives its memory back at once', () => {
    const tree = new Tree();
    const held = process.memoryUsage().arrayBuffers;
    for (let file = 0; file < 50_000; file++) withFile(tree, `${'n'.repeat(100)}${file}`);
    const filled = process.memoryUsage().arrayBuffers;
    expect(filled - held).toBeGreaterThan(8_000_000);
    tree.release();
    expect(process.memoryUsage().arrayBuffers - held).toBeLessThan(2_000_000);
  });
});
