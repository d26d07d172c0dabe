import * as z from 'zod';
import { RootfsError } from '../error.ts';
import { quote } from './path.ts';

/** Limits of a layer. They are enforced while it is decoded; sizes that it states are not trusted. */
export const layerLimits = z.object({
  /** Bytes of the layer's tar. */
  tarBytes: z.number(),
  /** Entries of the layer. */
  entries: z.number(),
  /** Bytes of the layer's index: names, targets and attributes, which are in memory while an image is built. */
  indexBytes: z.number(),
  /** Bytes of an entry's path, and its components. */
  pathBytes: z.number(),
  pathDepth: z.number(),
  /** Bytes of tar for each byte of the blob, enforced after `expansionGrace` bytes of tar; see `checkExpansion` for what else counts. */
  expansionRatio: z.number(),
  expansionGrace: z.number(),
  /** Bytes of zeros that do not count towards these, since they take no disk space. */
  zeroGrace: z.number(),
});
export type LayerLimits = Readonly<z.infer<typeof layerLimits>>;

const GIB = 2 ** 30;

/**
 * Far above real images: the largest layers on public registries have some 20 GiB and some 100,000 entries. PATH_MAX (4,095 bytes) limits
 * the argument of a system call, but not the trees that ext4 and tar can hold: a path may be 4,096 names deep, each of up to 255 bytes.
 * deflate reaches 1,032:1 with zeros, and 20:1 with text. Virtual machine disks and database logs make layers of many GiB of zeros: these
 * become holes, and only cost CPU time, half a minute for the whole of `zeroGrace`.
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

/** Limits of an image, that is of all its layers merged. */
export const imageLimits = z.object({
  /** Bytes of file content, without holes. */
  contentBytes: z.number(),
  /** Names of files, directories and everything else; each hard link counts. */
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
    `the image has more entries than ${limit}, which is the limit that the operator sets`,
  );
}

/** How many bytes of a layer have been read and written. */
export interface LayerBytes {
  /** Of the tar. */
  readonly tar: number;
  /** Of these, the bytes in blocks of zeros. */
  readonly zeros: number;
  /** Of the blob. */
  readonly compressed: number;
  /** Of the data file. */
  readonly written: number;
}

/**
 * The data of files is at most so many times as large as their entries in the tar: a file of one byte takes 4096 bytes, and 1024 in the tar.
 * Only sparse files exceed this, each of whose fragments may be a byte, too, but has no header.
 */
const DATA_PER_TAR = 4;

/** @throws RootfsError `layer_too_large` when the tar is too long, `expansion_too_large` when the blob looks like a "zip bomb" */
export function checkExpansion(limits: LayerLimits, { tar, zeros, compressed, written }: LayerBytes): void {
  if (tar > limits.tarBytes) {
    throw new RootfsError(
      'layer_too_large',
      `a layer unpacks to more than ${limits.tarBytes} bytes, which is the limit`,
    );
  }
  const counted = Math.max(tar - Math.min(zeros, limits.zeroGrace), written / DATA_PER_TAR);
  if (counted > limits.expansionGrace && counted > compressed * limits.expansionRatio) {
    throw new RootfsError(
      'expansion_too_large',
      `a layer unpacks to ${Math.max(tar, written)} bytes from ${compressed}, more than ${limits.expansionRatio} times as many: it looks made to fill disks; the operator can allow more`,
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
