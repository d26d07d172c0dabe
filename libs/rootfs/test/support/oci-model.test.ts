import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { layerStack, stackRuns } from './arbitrary-layers.ts';
import { expectModelAsUmoci } from './expect-as-umoci.ts';
import type { ListedNode } from './listing.ts';
import { ModelError, modelTree } from './oci-model.ts';
import type { TarEntry } from './tar-entry.ts';
import { whyNoUmoci } from './umoci.ts';

const file = (path: string, text = path, mode = 0o644): TarEntry => ({
  path,
  type: 'file',
  mode,
  content: Buffer.from(text),
});
const directory = (path: string, mode = 0o755): TarEntry => ({ path, type: 'directory', mode });
const symlink = (path: string, target: string): TarEntry => ({ path, type: 'symlink', target });
const link = (path: string, target: string): TarEntry => ({ path, type: 'link', target });

/** The tree's paths, each with what tells one case from another. */
function outline(layers: TarEntry[][]): Record<string, string> {
  const found: Record<string, string> = {};
  const list = (node: ListedNode, path: string) => {
    for (const [name, child] of [...node.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const mode = `0${child.mode.toString(8)}`;
      found[`${path}${name}`] =
        child.type === 'symlink' ? `-> ${child.target}` : child.type === 'file' ? `${child.size}` : mode;
      list(child, `${path}${name}/`);
    }
  };
  list(modelTree(layers), '');
  return found;
}

describe('the model of the OCI rules', () => {
  test('a whiteout hides what is below, and an opaque directory all that is below, wherever they stand', () => {
    expect(outline([[file('d/a'), file('d/b')], [file('.wh.d')]])).toEqual({});
    expect(outline([[file('d/a'), file('d/b')], [file('d/.wh.a')]])).toEqual({ d: '0755', 'd/b': '3' });
    for (const order of [
      [file('d/.wh..wh..opq'), file('d/c')],
      [file('d/c'), file('d/.wh..wh..opq')],
    ]) {
      expect(outline([[file('d/a'), file('d/e/b')], order])).toEqual({ d: '0755', 'd/c': '3' });
    }
  });

  test('a whiteout after an entry of its layer leaves that entry and the directories on the way', () => {
    const lower = [directory('d', 0o700), file('d/a'), directory('d/e', 0o711), file('d/e/b')];
    expect(outline([lower, [file('d/e/c'), file('.wh.d')]])).toEqual({ d: '0700', 'd/e': '0711', 'd/e/c': '5' });
    expect(outline([lower, [file('.wh.d'), file('d/e/c')]])).toEqual({ d: '0755', 'd/e': '0755', 'd/e/c': '5' });
  });

  test('a whiteout of nothing means nothing and makes no parents', () => {
    expect(outline([[file('x/.wh.a'), file('y/.wh..wh..opq')]])).toEqual({});
  });

  test('an entry replaces what is there; a directory on a directory keeps the children', () => {
    expect(outline([[file('a/b')], [file('a')]])).toEqual({ a: '1' });
    expect(outline([[file('a')], [directory('a', 0o700)]])).toEqual({ a: '0700' });
    expect(outline([[file('a/b')], [directory('a', 0o1777)]])).toEqual({ a: '01777', 'a/b': '3' });
    expect(outline([[file('a', 'one'), file('a', 'other')]])).toEqual({ a: '5' });
    expect(outline([[directory('d'), symlink('a', 'd')], [directory('a')]])).toEqual({ d: '0755', a: '0755' });
  });

  test('entries below a symlink go where it points, within the root', () => {
    expect(outline([[symlink('lib', 'usr/lib'), file('lib/x')]])).toEqual({
      lib: '-> usr/lib',
      usr: '0755',
      'usr/lib': '0755',
      'usr/lib/x': '5',
    });
    expect(outline([[symlink('a/up', '../../../../top'), file('a/up/x')]])).toEqual({
      a: '0755',
      'a/up': '-> ../../../../top',
      top: '0755',
      'top/x': '6',
    });
    expect(outline([[symlink('a', '/b'), file('b/x'), file('a/.wh.x')], [file('a/.wh.x')]])).toEqual({
      a: '-> /b',
      b: '0755',
    });
  });

  test('hard links share the inode, outlive the first name and do not follow symlinks', () => {
    const tree = modelTree([[file('a'), symlink('s', 'a')], [link('b', './a'), link('t', '/s')], [file('.wh.a')]]);
    expect([...tree.children.keys()].sort()).toEqual(['b', 's', 't']);
    expect(tree.children.get('t')).toBe(tree.children.get('s'));
    expect(tree.children.get('b')?.size).toBe(1);
  });

  test('what means nothing is an error, and leaves the tree as it was', () => {
    const wrong: TarEntry[][] = [
      [file('../a')],
      [link('a', 'a')],
      [file('a'), link('a', 'a')],
      [file('a'), link('a/b', 'a')],
      [directory('a'), link('b', 'a')],
      [link('a', 'b'), file('b')],
      [symlink('a', 'b'), symlink('b', 'a'), file('a/x')],
      [file('./')],
    ];
    for (const layer of wrong) expect(() => modelTree([layer])).toThrow(ModelError);
  });
});

const missing = await whyNoUmoci();
if (missing !== undefined) process.stderr.write(`skipped: the model is not compared with umoci: ${missing}\n`);

(missing === undefined ? test : test.skip)('the model agrees with umoci on random stacks', async () => {
  await fc.assert(fc.asyncProperty(layerStack, expectModelAsUmoci), stackRuns(8));
});
