import { createHash } from 'node:crypto';
import type { BuildOptions, RootfsReport } from './build-rootfs.ts';
import { measureContent } from './ext4/content.ts';
import type { CopyRun } from './ext4/data-copy.ts';
import { BLOCK_SIZE } from './ext4/format.ts';
import { fileSystemGeometry } from './ext4/geometry.ts';
import { makeFileSystem } from './ext4/mke2fs.ts';
import { ensureLostAndFound, numberInodes } from './ext4/numbering.ts';
import { populate } from './ext4/populate.ts';
import { toAttribute } from './ext4/xattr.ts';
import { readLayerIndex } from './layer/layer-index.ts';
import { checkImage, type ImageLimits } from './layer/limits.ts';
import { quote } from './layer/path.ts';
import type { Directory } from './tree/inode.ts';
import { mergeLayers } from './tree/merge.ts';
import { addMountPoints, bootWarnings } from './tree/sandbox.ts';

/** A file system that lacks only its files' data, which `copies` names. */
export interface BuiltImage {
  readonly report: RootfsReport;
  readonly copies: readonly CopyRun[];
}

/** The work of `buildRootfs` up to the copying of data, without a break: for a thread of its own. */
export function buildImage(
  options: Omit<BuildOptions, 'signal' | 'limits'> & { readonly limits: ImageLimits },
): BuiltImage {
  const indexes = options.layers.map((directory) => readLayerIndex(directory));
  const root = mergeLayers(indexes.map(({ entries }) => entries));
  const warnings = [...bootWarnings(root), ...attributeWarnings(root)];
  addMountPoints(root);
  if (!ensureLostAndFound(root))
    warnings.push("the image's /lost+found was left out: in an ext4 it is the directory that e2fsck needs");
  const numbering = numberInodes(root);
  const { blocks, dataBytes } = measureContent(numbering);
  checkImage(options.limits, dataBytes, numbering.inodes.length);
  const geometry = fileSystemGeometry(blocks, numbering.highest, options.sizeBytes);
  const uuid = fileSystemUuid(
    indexes.map(({ diffId }) => diffId),
    options.sizeBytes,
  );
  makeFileSystem(options.output, geometry, uuid);
  const copies = populate(options.output, numbering);
  const report = {
    sizeBytes: geometry.blocks * BLOCK_SIZE,
    entries: numbering.inodes.length,
    contentBytes: dataBytes,
    warnings,
  };
  return { report, copies };
}

/** A UUID (RFC 9562, version 8) that the content decides, so that the same content gives the same file system. */
function fileSystemUuid(diffIds: readonly string[], sizeBytes: number | undefined): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([diffIds, sizeBytes ?? null]))
    .digest();
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x80, 6);
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = digest.toString('hex', 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Names the kinds of attributes that ext4 cannot keep; they are left out. */
function attributeWarnings(root: Directory): string[] {
  const lost = new Set<string>();
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const child of directory.children.values()) {
      for (const [name, value] of child.xattrs) if (toAttribute(name, value) === undefined) lost.add(name);
      if (child.children !== undefined) pending.push({ ...child, children: child.children });
    }
  }
  return [...lost].sort().map((name) => `extended attributes ${quote(name)} were left out: ext4 cannot hold them`);
}
