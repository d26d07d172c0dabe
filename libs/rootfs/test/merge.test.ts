import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RootfsError } from '../error.ts';
import type { Inode } from '../tree/inode-table.ts';
import { mergeLayers } from '../tree/merge.ts';
import type { Tree } from '../tree/tree.ts';
import { describeStack, type LayerStack, layerStack, stackRuns } from './support/arbitrary-layers.ts';
import { entriesAt, layerEntry, listingOf, namesInTree, pathsIn } from './support/layer-entries.ts';
import { differences, type ListedNode } from './support/listing.ts';
import { ModelError, modelTree } from './support/oci-model.ts';
import type { TarEntry } from './support/tar-entry.ts';

const file = (path: string, mode = 0o644): TarEntry => ({ path, type: 'file', mode });
const directory = (path: string, mode = 0o755): TarEntry => ({ path, type: 'directory', mode });
const symlink = (path: string, target: string): TarEntry => ({ path, type: 'symlink', target });
const link = (path: string, target: string): TarEntry => ({ path, type: 'link', target });

const merge = (...layers: TarEntry[][]) => mergeLayers(layers.map((layer) => layer.map(layerEntry)));

/** The paths of the tree; directories end in a slash, files and symlinks say their inode's number of names if more than one. */
function paths(...layers: TarEntry[][]): string[] {
  const found: string[] = [];
  const list = (node: ListedNode, path: string) => {
    for (const [name, child] of node.children) {
      found.push(child.type === 'directory' ? `${path}${name}/` : `${path}${name}`);
      list(child, `${path}${name}/`);
    }
  };
  list(listingOf(merge(...layers)), '');
  return found.sort();
}

/** The names in the root of a tree. */
const rootNames = (tree: Tree): string[] => [...tree.namesIn(tree.root)].map((name) => tree.names.text(name));

/** What a name in the root of a tree leads to. */
function inRoot(tree: Tree, name: string): Inode {
  const inode = tree.child(tree.root, name);
  if (inode === undefined) throw new Error(`there is no ${name}`);
  return inode;
}

const modeInRoot = (tree: Tree, name: string): number => tree.inodes.mode(inRoot(tree, name));

/** The code of the error that merging ends in. */
function failure(...layers: TarEntry[][]): string | undefined {
  try {
    merge(...layers);
    return undefined;
  } catch (error) {
    if (error instanceof RootfsError) return error.code;
    throw error;
  }
}

describe('whiteouts', () => {
  test('of a directory of any size', () => {
    // More than a call may have arguments.
    const names = entriesAt(pathsIn('d', 150_000), file('d'));
    const lower = [directory('d'), file('d/old')].map(layerEntry);
    const upper = [layerEntry(directory('d')), ...names, layerEntry(file('.wh.d'))];
    const tree = mergeLayers([lower, upper]);
    const large = inRoot(tree, 'd');
    expect([...tree.namesIn(large)]).toHaveLength(names.length);
    expect(tree.child(large, 'old')).toBeUndefined();
  });

  test('hide a file, a directory with all below it, and a symlink but not its target', () => {
    expect(paths([file('a'), file('b')], [file('.wh.a')])).toEqual(['b']);
    expect(paths([file('d/a'), file('d/e/b')], [file('.wh.d')])).toEqual([]);
    expect(paths([file('a'), symlink('s', 'a')], [file('.wh.s')])).toEqual(['a']);
  });

  test('hide nothing of their own layer, before them or after them', () => {
    expect(paths([file('.wh.a'), file('a')])).toEqual(['a']);
    expect(paths([file('a'), file('.wh.a')])).toEqual(['a']);
    expect(paths([file('d/old')], [file('d/new'), file('.wh.d')])).toEqual(['d/', 'd/new']);
    expect(paths([file('d/old')], [file('.wh.d'), file('d/new')])).toEqual(['d/', 'd/new']);
  });

  test('of an opaque directory hide all that lower layers put there, at any depth, wherever they stand', () => {
    const lower = [file('d/a'), file('d/e/b'), file('d/e/f/c')];
    for (const upper of [
      [file('d/.wh..wh..opq'), file('d/e/new')],
      [file('d/e/new'), file('d/.wh..wh..opq')],
    ]) {
      expect(paths(lower, upper)).toEqual(['d/', 'd/e/', 'd/e/new']);
    }
    expect(paths(lower, [file('.wh..wh..opq')])).toEqual([]);
  });

  test('make no parents and do not mind that nothing is there', () => {
    expect(paths([file('a')], [file('x/.wh.y'), file('.wh.b'), file('y/.wh..wh..opq'), file('a/.wh.b')])).toEqual([
      'a',
    ]);
  });

  test('go by the name: a lower name is hidden although this layer links to its inode', () => {
    expect(paths([file('a')], [link('b', 'a'), file('.wh.a')])).toEqual(['b']);
    expect(paths([file('d/a')], [link('b', 'd/a'), file('d/.wh..wh..opq')])).toEqual(['b', 'd/']);
  });

  test('find their directory through a symlink', () => {
    expect(paths([symlink('lib', 'usr/lib'), file('usr/lib/a')], [file('lib/.wh.a')])).toEqual([
      'lib',
      'usr/',
      'usr/lib/',
    ]);
    // What is hidden leads nowhere from then on.
    const upper = [file('s/a'), file('.wh.s'), file('s/b')];
    expect(paths([directory('d'), symlink('s', 'd')], upper)).toEqual(['d/', 'd/a', 's/', 's/b']);
  });

  test('that name nothing are refused', () => {
    for (const name of ['.wh.', '.wh..', '.wh...', 'd/.wh.']) expect(failure([file(name)])).toBe('layer_corrupt');
  });
});

describe('entries', () => {
  test('of a directory set its attributes and keep its children', () => {
    const tree = merge([file('d/a'), directory('d', 0o700)], [directory('d', 0o1777)]);
    expect(modeInRoot(tree, 'd')).toBe(0o1777);
    expect([...tree.namesIn(inRoot(tree, 'd'))].map((name) => tree.names.text(name))).toEqual(['a']);
  });

  test('replace what is there: a file a directory, a directory a file, and back over layers', () => {
    expect(paths([file('x/a')], [file('x')])).toEqual(['x']);
    expect(paths([file('x/a')], [file('x')], [file('.wh.x'), file('x/b')])).toEqual(['x/', 'x/b']);
    expect(paths([file('x')], [directory('x'), file('x/b')], [symlink('x', 'y')])).toEqual(['x']);
    expect(paths([symlink('x', 'y'), directory('y')], [directory('x')])).toEqual(['x/', 'y/']);
  });

  test('that are repeated count the last time', () => {
    expect(modeInRoot(merge([file('a', 0o600), file('a', 0o640)]), 'a')).toBe(0o640);
  });

  test('without their parents get parents of root, 0755, of the epoch', () => {
    const tree = merge([{ ...file('a/b'), uid: 5, mtime: 7n }]);
    expect(listingOf(tree).children.get('a')).toMatchObject({
      type: 'directory',
      mode: 0o755,
      uid: 0,
      gid: 0,
      mtime: 0n,
    });
    expect(tree.inodes.names(inRoot(tree, 'a'))).toBe(1);
  });

  test('below a symlink go where it leads, within the root, and nothing is made on a way that turns back', () => {
    expect(paths([symlink('s', '../../../top'), file('s/a')])).toEqual(['s', 'top/', 'top/a']);
    expect(paths([symlink('s', 'missing/../d'), file('s/a')])).toEqual(['d/', 'd/a', 's']);
    expect(paths([file('f'), symlink('s', 'f/../d'), file('s/a')])).toEqual(['d/', 'd/a', 'f', 's']);
    expect(paths([symlink('s', '/d'), directory('d'), file('s/a'), directory('s'), file('s/b')])).toEqual([
      'd/',
      'd/a',
      's/',
      's/b',
    ]);
    // What lies on the way to its own directory: where that leads is another place once it is there.
    for (const turn of [file('s/x'), link('s/x', 'f'), directory('s/x')]) {
      const entries = [file('f'), symlink('d/x', '/'), symlink('s', 'd/x/../d'), turn, file('s/y')];
      const x = turn.type === 'directory' ? 'd/x/' : 'd/x';
      expect(paths(entries)).toEqual(['d/', 'd/d/', 'd/d/y', x, 'f', 's']);
    }
    const turn = [symlink('s', 'd/x/../../d'), symlink('s/x', 'q/r/t'), file('s/y')];
    expect(paths(turn)).toEqual(['d/', 'd/q/', 'd/q/d/', 'd/q/d/y', 'd/x', 's']);
  });

  test('below what is no directory have it give way to one, which no layer states', () => {
    const device: TarEntry = { path: 'a', type: 'character-device', deviceMajor: 1, deviceMinor: 3 };
    for (const below of [file('a'), device, symlink('a', 'f')]) {
      const lower = [file('f'), link('other', 'f'), below];
      for (const upper of [file('a/b'), directory('a/b'), link('a/b', 'other')]) {
        for (const layers of [[lower, [upper]], [[...lower, upper]]]) {
          const tree = merge(...layers);
          expect(differences(listingOf(tree), withoutContent(modelTree(layers, { unstatedMtime: 0n })))).toEqual([]);
          expect(tree.child(inRoot(tree, below.type === 'symlink' ? 'f' : 'a'), 'b')).toBeGreaterThan(0);
          expect(tree.inodes.type(inRoot(tree, 'other'))).toBe('file');
        }
      }
    }
    expect(paths([file('a')], [file('a/b/c'), file('.wh.a'), file('a/.wh.b')])).toEqual(['a/', 'a/b/', 'a/b/c']);
    expect(failure([file('a')], [link('a/b', 'a')])).toBe('layer_corrupt');
  });

  test('cannot lie below symlinks that lead in a circle', () => {
    expect(failure([symlink('a', 'b'), symlink('b', 'a'), file('a/x')])).toBe('layer_corrupt');
    expect(failure([symlink('a', 'n'.repeat(256)), file('a/x')])).toBe('layer_corrupt');
    expect(failure([file('.')])).toBe('layer_corrupt');
  });

  test('of symlinks have mode 0777 and a target that Linux takes', () => {
    expect(modeInRoot(merge([{ ...symlink('s', 'a'), mode: 0o640 }]), 's')).toBe(0o777);
    for (const target of ['', 'a\0b', 'x'.repeat(4096)]) expect(failure([symlink('s', target)])).toBe('layer_corrupt');
    expect(failure([symlink('s', 'x'.repeat(4095))])).toBeUndefined();
  });

  test('of symlinks keep mode 0777 whatever an ACL says, which is kept so that a warning tells of it', () => {
    const acl = Buffer.from('0200000001000600ffffffff04000400ffffffff20000000ffffffff', 'hex');
    const entry: TarEntry = { ...symlink('s', 'a'), xattrs: [['system.posix_acl_access', acl]] };
    const node = listingOf(merge([entry])).children.get('s');
    expect(node?.mode).toBe(0o777);
    expect([...(node?.xattrs.keys() ?? [])]).toEqual(['system.posix_acl_access']);
  });

  test('follow up to 255 symlinks', () => {
    const chain = (length: number) => [
      directory('s0'),
      ...Array.from({ length }, (_, index) => symlink(`s${index + 1}`, `s${index}`)),
      file(`s${length}/a`),
    ];
    expect(failure(chain(255))).toBeUndefined();
    expect(failure(chain(256))).toBe('layer_corrupt');
  });

  test('hide what a directory has once, however many whiteouts say so: 40,000 of 40,000 names take no minute', () => {
    const names = entriesAt(pathsIn('d', 40_000), file('d'));
    for (const paths of [['d/.wh..wh..opq'], ['.wh.d'], ['d/.wh..wh..opq', '.wh.d']]) {
      const whiteouts = paths.map((path) => layerEntry(file(path)));
      const layer = [...names, ...names.flatMap(() => whiteouts)];
      expect(mergeLayers([[layerEntry(file('d/old'))], layer]).entries).toBe(40_002);
    }
  });

  test('follow symlinks for so many names in all, and go no further', () => {
    const below = ['a', 'b', 'a', 'b'].map((name, index) => layerEntry(file(`${name}/${index}`)));
    const layer = [...[directory('d'), symlink('a', 'd/./d/..'), symlink('b', 'a')].map(layerEntry), ...below];
    // Four names for a, and one more and those four for b.
    expect(() => mergeLayers([layer.slice(0, 3), layer.slice(3)], 100, 18)).not.toThrow();
    expect(() => mergeLayers([layer.slice(0, 3), layer.slice(3)], 100, 17)).toThrow(
      expect.objectContaining({ code: 'layer_too_large' }),
    );
  });

  test('keep no attributes that mean something on their host only', () => {
    const value = Buffer.from('x');
    const overlay = ['impure', 'metacopy', 'nlink', 'opaque', 'origin', 'redirect', 'upper'];
    const dropped = ['security.selinux', 'system.nfs4_acl', ...overlay.map((name) => `trusted.overlay.${name}`)];
    const names = ['security.capability', ...dropped, 'trusted.a', 'user.a'];
    const xattrs = names.map((name): [string, Buffer] => [name, value]);
    const kept = (node: TarEntry) => [
      ...(listingOf(merge([{ ...node, xattrs }]))
        .children.get('a')
        ?.xattrs.keys() ?? []),
    ];
    expect(kept(file('a'))).toEqual(['security.capability', 'trusted.a', 'user.a']);
    expect(kept(directory('a'))).toEqual(['security.capability', 'trusted.a', 'user.a']);
  });
});

describe('hard links', () => {
  test('share the inode of any layer, which lives as long as a name', () => {
    const tree = merge([file('a', 0o600), link('b', 'a')], [link('c', './b'), file('a', 0o640)], [file('.wh.b')]);
    expect(rootNames(tree).sort()).toEqual(['a', 'c']);
    for (const [name, mode] of [
      ['c', 0o600],
      ['a', 0o640],
    ] as const) {
      expect(modeInRoot(tree, name)).toBe(mode);
      expect(tree.inodes.names(inRoot(tree, name))).toBe(1);
    }
  });

  test('lead to a symlink itself', () => {
    const tree = merge([file('a'), symlink('s', 'a'), link('t', 's')]);
    expect(inRoot(tree, 't')).toBe(inRoot(tree, 's'));
    expect(tree.inodes.names(inRoot(tree, 's'))).toBe(2);
  });

  test('to nothing, to a directory, or to themselves are refused', () => {
    for (const target of ['b', 'd', '.', 'd/x', 'a']) {
      expect(failure([directory('d'), file('a'), link('a', target)])).toBe('layer_corrupt');
    }
  });
});

test('an image without layers is an empty root', () => {
  expect(paths()).toEqual([]);
  expect(paths([], [])).toEqual([]);
});

test('127 layers come one after the other', () => {
  const layers = Array.from({ length: 127 }, (_, layer) => [file(`own-${layer}`), file('shared', layer)]);
  const tree = merge(...layers, [file('.wh.own-5')]);
  expect(rootNames(tree)).toHaveLength(127);
  expect(modeInRoot(tree, 'shared')).toBe(126);
});

test('any stack of layers merges to what the model says, and inodes know their names', () => {
  fc.assert(fc.property(layerStack, expectAsModel), stackRuns(500));
});

test('a few entries, also below files and below links, merge to what the model says, or are refused where it refuses them', () => {
  const path = fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
  const entry = fc.oneof(
    path.map((at) => file(at)),
    path.map((at) => directory(at)),
    fc.tuple(path, fc.constantFrom('a', 'b/a', '../b', '/a/b')).map(([at, target]) => symlink(at, target)),
    fc.tuple(path, path).map(([at, target]) => link(at, target)),
    fc.tuple(path, fc.constantFrom('.wh.a', '.wh..wh..opq')).map(([at, name]) => file(`${at}/${name}`)),
  );
  const layer = fc.array(entry, { maxLength: 5 });
  // The lowest layer has nothing to hide, and its whiteouts are not looked at.
  const stack = fc.tuple(layer, layer).map((layers) => ({ layers: [[], ...layers] }));
  fc.assert(fc.property(stack, expectAsModelOrRefused), stackRuns(1000));
});

function expectAsModelOrRefused(stack: LayerStack): void {
  try {
    modelTree(stack.layers);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    expect(failure(...stack.layers.map((layer) => [...layer]))).toBe('layer_corrupt');
    return;
  }
  expectAsModel(stack);
}

function expectAsModel(stack: LayerStack): void {
  const tree = merge(...stack.layers.map((layer) => [...layer]));
  const found = differences(listingOf(tree), withoutContent(modelTree(stack.layers, { unstatedMtime: 0n })));
  const namesOf = namesInTree(tree);
  for (const [inode, names] of namesOf)
    if (tree.inodes.names(inode) !== names)
      found.push(`an inode has ${names} names and counts ${tree.inodes.names(inode)}`);
  if (tree.inodes.count !== namesOf.size)
    found.push(`the tree counts ${tree.inodes.count} inodes, and ${namesOf.size} have names`);
  if (found.length > 0) throw new Error(`${found.join('\n')}\n${describeStack(stack)}`);
}

function withoutContent(root: ListedNode): ListedNode {
  const nodes = new Map<ListedNode, ListedNode>();
  const strip = (node: ListedNode): ListedNode => {
    const stripped = nodes.get(node) ?? {
      ...node,
      digest: '',
      children: new Map([...node.children].map(([name, child]) => [name, strip(child)])),
    };
    nodes.set(node, stripped);
    return stripped;
  };
  return strip(root);
}
