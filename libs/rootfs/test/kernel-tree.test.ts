import { beforeAll, expect, test } from '@jest/globals';
import { bigTree } from './support/big-tree.ts';
import { buildImage } from './support/layers.ts';
import { countNames, differences } from './support/listing.ts';
import { withoutAddedMountPoints } from './support/mount-points.ts';
import { listImage, type MountedNode, requireMounts } from './support/mounted.ts';
import { modelTree } from './support/oci-model.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const BLOCK = 4096;
/** Extents that a block of an extent tree holds: what remains of it after the header (12 bytes) and the checksum, by 12. */
const EXTENTS_A_BLOCK = 340;

beforeAll(requireMounts);

test('a tree with one of everything is, mounted by the kernel, what its layers state', async () => {
  await withTemporaryDirectory(async (directory) => {
    const layers = bigTree();
    const { path } = await buildImage(directory, layers);
    const expected = modelTree(layers, { unstatedMtime: 0n });
    const mounted = withoutAddedMountPoints(await listImage(path), expected);
    expect(differences(mounted, expected).slice(0, 40)).toEqual([]);
    expect(countNames(mounted)).toBe(countNames(expected));
    expect(wastefulFiles(mounted)).toEqual([]);
  });
});

/** Files that take more of the disk than their blocks with data and the blocks that describe these: whose zeros are no holes. */
function wastefulFiles(root: MountedNode): string[] {
  const found: string[] = [];
  const todo: [string, MountedNode][] = [['', root]];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const [path, node] = next;
    const extentBlocks = node.dataBlocks <= 4 ? 0 : Math.ceil(node.dataBlocks / EXTENTS_A_BLOCK) + 1;
    const attributeBlocks = node.xattrs.size > 0 ? 1 : 0;
    const most = (node.dataBlocks + extentBlocks + attributeBlocks) * BLOCK;
    if (node.type === 'file' && node.allocatedBytes > most)
      found.push(`${path}: ${node.allocatedBytes} bytes on disk, ${most} are needed`);
    for (const [name, child] of node.children) todo.push([`${path}/${name}`, child]);
  }
  return found;
}
