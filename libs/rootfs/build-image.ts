import { createHash } from 'node:crypto';
import type { BuildOptions, RootfsReport } from './build-rootfs.ts';
import { measureContent } from './ext4/content-measure.ts';
import type { CopyRun } from './ext4/copy-run.ts';
import { BLOCK_SIZE } from './ext4/format.ts';
import { fileSystemGeometry } from './ext4/geometry.ts';
import { ensureLostAndFound } from './ext4/lost-and-found.ts';
import { makeFileSystem } from './ext4/mke2fs.ts';
import { Numbering } from './ext4/numbering.ts';
import { populate } from './ext4/populate.ts';
import { toAttribute } from './ext4/xattr.ts';
import { type LayerIndex, readLayerIndex } from './layer/layer-index.ts';
import { checkContent, checkEntries, type ImageLimits } from './layer/limits.ts';
import { quote } from './layer/path.ts';
import { mergeLayers } from './tree/merge.ts';
import { addMountPoints, bootWarnings } from './tree/sandbox.ts';
import type { Tree } from './tree/tree.ts';

type ImageOptions = Omit<BuildOptions, 'signal' | 'limits'> & { readonly limits: ImageLimits };

/**
 * The work of `buildRootfs` except copying the data; synchronous, to be run on a worker thread.
 *
 * @param onCopies see `populate`
 */
export function buildImage(options: ImageOptions, onCopies: (copies: readonly CopyRun[]) => void): RootfsReport {
  const indexes = options.layers.map((directory) => readLayerIndex(directory));
  const tree = mergeLayers(
    indexes.map(({ entries }) => entries),
    options.limits.entries,
  );
  try {
    return buildFrom(tree, indexes, options, onCopies);
  } finally {
    tree.release();
  }
}

function buildFrom(
  tree: Tree,
  indexes: readonly LayerIndex[],
  options: ImageOptions,
  onCopies: (copies: readonly CopyRun[]) => void,
): RootfsReport {
  const warnings = bootWarnings(tree);
  addMountPoints(tree);
  if (!ensureLostAndFound(tree))
    warnings.push("the image's /lost+found was left out: in an ext4 it is the directory that e2fsck needs");
  checkEntries(options.limits.entries, tree.entries);
  const numbering = new Numbering(tree);
  warnings.push(...attributeWarnings(numbering));
  const { blocks, dataBytes, linearBlocks } = measureContent(numbering);
  checkContent(options.limits, dataBytes);
  const geometry = fileSystemGeometry(blocks, numbering.highest, options.sizeBytes);
  const uuid = fileSystemUuid(
    indexes.map(({ diffId }) => diffId),
    options.sizeBytes,
  );
  makeFileSystem(options.output, geometry, uuid);
  populate(options.output, numbering, { linearBlocks, onCopies });
  return {
    sizeBytes: geometry.blocks * BLOCK_SIZE,
    entries: tree.entries,
    contentBytes: dataBytes,
    warnings,
  };
}

/** A UUID (RFC 9562, version 8) derived from the content, so that the same content gives the same file system. */
function fileSystemUuid(diffIds: readonly string[], sizeBytes: number | undefined): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([diffIds, sizeBytes ?? null]))
    .digest();
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x80, 6);
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = digest.toString('hex', 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Most attributes that are named in warnings: a layer may have a million, and the warnings go wherever the image is listed. */
const NAMED_ATTRIBUTES = 20;

/** A warning for each attribute name that is left out, because ext4 cannot store it or the kernel would not accept it. */
function attributeWarnings(numbering: Numbering): string[] {
  const { inodes } = numbering.tree;
  const lost = new Map<string, { count: number; first: number }>();
  for (const inode of inodes.withXattrs()) {
    for (const [name, value] of inodes.xattrs(inode)) {
      if (toAttribute(inodes.type(inode), name, value) !== undefined) continue;
      const { count, first } = lost.get(name) ?? { count: 0, first: Number.POSITIVE_INFINITY };
      lost.set(name, { count: count + 1, first: Math.min(first, numbering.numberOf(inode)) });
    }
  }
  const sorted = [...lost].sort(([a], [b]) => (a < b ? -1 : 1));
  const warnings = sorted.slice(0, NAMED_ATTRIBUTES).map(([name, { count, first }]) => {
    const path = quote(numbering.pathOf(first));
    const where = count === 1 ? `of ${path}` : `of ${count} files, ${path} the first,`;
    return name.startsWith('SCHILY.acl.')
      ? `ACLs in text form (${name}) ${where} were left out, as Docker leaves them out`
      : `extended attributes ${quote(name)} ${where} were left out: ext4 or the kernel does not take them`;
  });
  const others = sorted.length - warnings.length;
  if (others > 0) warnings.push(`extended attributes of ${others} other names were left out, too`);
  return warnings;
}
