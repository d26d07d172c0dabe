import { createHash } from 'node:crypto';

/** Raised when the same layers and options would give other bytes than before. */
const FORMAT = 1;

export interface RootfsKeyParts {
  /** `sha256:<hex>` of the platform's image manifest. */
  readonly manifestDigest: string;
  /** Exact size of the file system in bytes, where the user asked for one. */
  readonly sizeBytes?: number | undefined;
}

/** The content address of a root filesystem, 64 hex digits: it covers every option that changes a byte of the image. */
export function rootfsKey(parts: RootfsKeyParts): string {
  const described = JSON.stringify([FORMAT, parts.manifestDigest, parts.sizeBytes ?? null]);
  return createHash('sha256').update(described).digest('hex');
}
