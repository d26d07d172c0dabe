import { createHash } from 'node:crypto';
import { LAYER_FORMAT } from './layer/layer-format.ts';

/** Raised when the same decoded layers and options would give different bytes than before. */
const FORMAT = 6;

export interface RootfsKeyParts {
  /** `sha256:<hex>` of the platform's image manifest. */
  readonly manifestDigest: string;
  /** Exact size of the file system in bytes, where the user asked for one. */
  readonly sizeBytes?: number | undefined;
  /** `sha256:<hex>` of the uncompressed tar of the operator's layer on top. */
  readonly overlayDiffId?: string | undefined;
  /** See `e2fsprogsVersion`: what mke2fs writes is part of the image. */
  readonly e2fsprogs: string;
}

/** The content address of a root filesystem, 64 hex digits: it covers every option that changes a byte of the image. */
export function rootfsKey({ manifestDigest, sizeBytes, overlayDiffId, e2fsprogs }: RootfsKeyParts): string {
  const formats = [FORMAT, LAYER_FORMAT];
  const described = JSON.stringify([...formats, manifestDigest, sizeBytes ?? null, overlayDiffId ?? null, e2fsprogs]);
  return createHash('sha256').update(described).digest('hex');
}
