/**
 * From layers to a bootable ext4 file: decode each layer once into the layer cache, merge the layers into one tree,
 * write the tree straight into a file system that mke2fs made, and check it with e2fsck.
 */
export { type BuildOptions, buildRootfs, type RootfsReport } from './build-rootfs.ts';
export { type DecodedLayer, type DecodeOptions, decodeLayer } from './decode-layer.ts';
export { e2fsprogsVersion, requireE2fsprogs } from './e2fsprogs.ts';
export { RootfsError, type RootfsErrorCode } from './error.ts';
export { MAXIMUM_SIZE_BYTES, MINIMUM_SIZE_BYTES, wholeBlocks } from './ext4/size-limits.ts';
export { fileDigest } from './file-digest.ts';
export { FREE_SPACE_RESERVE } from './free-space.ts';
export { isCurrentLayer } from './layer/current-layer.ts';
export { describeLayerFile, type LayerFile } from './layer/layer-file.ts';
export { type LayerIndex, readLayerIndex } from './layer/layer-index.ts';
export type { ImageLimits, LayerLimits } from './layer/limits.ts';
export { limitsOf, limitVariables, type RootfsLimits } from './limit-variables.ts';
export { type RootfsKeyParts, rootfsKey } from './rootfs-key.ts';
export { startThreads } from './threads.ts';
