import * as z from 'zod';
import { RootfsError } from '../error.ts';
import { quote } from './path.ts';

/** How large a layer may be made to be. What a layer says of itself is not trusted; these are checked as it comes. */
export const layerLimits = z.object({
  /** Bytes of the layer's tar. */
  tarBytes: z.number(),
  /** Entries of the layer. */
  entries: z.number(),
  /** Bytes of the layer's index, which is held in memory while an image is built: names, targets and attributes. */
  indexBytes: z.number(),
  /** Bytes of an entry's path, and components of it. */
  pathBytes: z.number(),
  pathDepth: z.number(),
  /** Bytes of tar for each byte of the blob, asked for once there are `expansionGrace` bytes of tar. */
  expansionRatio: z.number(),
  expansionGrace: z.number(),
  /** Bytes of zeros that do not count for that: they take no disk. */
  zeroGrace: z.number(),
});
export type LayerLimits = Readonly<z.infer<typeof layerLimits>>;

const GIB = 2 ** 30;

/**
 * Far above real images: the largest layers on public registries are of some 20 GiB and some 100,000 entries. PATH_MAX (4,095 bytes)
 * bounds what one system call is given, not a tree, which ext4 and tar take deeper: a path may be 4,096 names deep, each of up to
 * 255 bytes. Deflate reaches 1,032:1 with zeros, and 20:1 with text. Disks of virtual machines and logs of databases are layers of
 * many GiB of zeros: these become holes, so that they cost nothing but the processor's time, half a minute for all that is forgiven.
 */
export const DEFAULT_LIMITS: LayerLimits = {
  tarBytes: 128 * GIB,
  entries: 4_000_000,
  indexBytes: GIB / 2,
  pathBytes: 4096 * 256,
  pathDepth: 4096,
  expansionRatio: 200,
  expansionGrace: GIB,
  zeroGrace: 16 * GIB,
};

/** How large an image may be, all its layers merged. */
export const imageLimits = z.object({
  /** Bytes of file content, holes not counted. */
  contentBytes: z.number(),
  /** Names of files, directories and all else; each hard link counts. */
  entries: z.number(),
});
export type ImageLimits = Readonly<z.infer<typeof imageLimits>>;

export const DEFAULT_IMAGE_LIMITS: ImageLimits = { contentBytes: 256 * GIB, entries: 4_000_000 };

/** @throws RootfsError `image_too_large` when the merged image has more bytes of content */
export function checkContent(limits: ImageLimits, contentBytes: number): void {
  if (contentBytes > limits.contentBytes) {
    throw new RootfsError(
      'image_too_large',
      `the image has ${contentBytes} bytes of content; ${limits.contentBytes} is the limit, which the operator sets`,
    );
  }
}

/** @throws RootfsError `image_too_large` when the layers merged so far have more entries than an image may */
export function checkEntries(limit: number, entries: number): void {
  if (entries <= limit) return;
  throw new RootfsError(
    'image_too_large',
    `the image has more than ${limit} entries, which is the limit that the operator sets`,
  );
}

/** Bytes of a layer that are read. */
export interface LayerBytes {
  /** Of the tar. */
  readonly tar: number;
  /** Those of them that are in blocks of zeros. */
  readonly zeros: number;
  /** Of the blob. */
  readonly compressed: number;
}

/** @throws RootfsError `layer_too_large` when the tar is, `expansion_too_large` when it is made to fill disks (a "zip bomb") */
export function checkExpansion(limits: LayerLimits, { tar, zeros, compressed }: LayerBytes): void {
  if (tar > limits.tarBytes) {
    throw new RootfsError(
      'layer_too_large',
      `a layer unpacks to more than ${limits.tarBytes} bytes, which is the limit`,
    );
  }
  const counted = tar - Math.min(zeros, limits.zeroGrace);
  if (counted > limits.expansionGrace && counted > compressed * limits.expansionRatio) {
    throw new RootfsError(
      'expansion_too_large',
      `a layer unpacks to ${tar} bytes from ${compressed}, more than ${limits.expansionRatio} times as many: it looks made to fill disks; the operator can allow more`,
    );
  }
}

/** @throws RootfsError `layer_too_large` when the entry's path is too long or too deep */
export function checkPath(limits: LayerLimits, path: string): void {
  if (path.length > limits.pathBytes) {
    throw new RootfsError(
      'layer_too_large',
      `the layer's entry ${quote(path)} has a path of ${path.length} bytes; ${limits.pathBytes} is the limit`,
    );
  }
  let depth = 1;
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) depth++;
  if (depth > limits.pathDepth) {
    throw new RootfsError(
      'layer_too_large',
      `the layer's entry ${quote(path)} lies ${depth} directories deep; ${limits.pathDepth} is the limit`,
    );
  }
}
