import { expect, test } from '@jest/globals';
import { mergeLayers } from '../tree/merge.ts';
import { addMountPoints } from '../tree/sandbox.ts';
import { layerEntry, listingOf } from './support/layer-entries.ts';
import type { TarEntry } from './support/tar-entry.ts';

const rootOf = (...entries: TarEntry[]) => {
  const tree = mergeLayers([entries.map(layerEntry)]);
  addMountPoints(tree);
  return [...listingOf(tree).children].map(([name, { type, mode }]) => [name, type, mode]).sort();
};

test('an image without mount points gets them, with the modes of file-hierarchy(7)', () => {
  expect(rootOf()).toEqual([
    ['dev', 'directory', 0o755],
    ['proc', 'directory', 0o555],
    ['run', 'directory', 0o755],
    ['sys', 'directory', 0o555],
    ['tmp', 'directory', 0o1777],
  ]);
});

test('what an image has in place of a mount point stays', () => {
  const stated = [
    ['dev', 'directory', 0o700],
    ['proc', 'file', 0o600],
    ['run', 'symlink', 0o777],
  ];
  const found = rootOf(
    { path: 'dev', type: 'directory', mode: 0o700 },
    { path: 'proc', type: 'file', mode: 0o600 },
    { path: 'run', type: 'symlink', target: 'var/run' },
  );
  expect(found.slice(0, 3)).toEqual(stated);
});
