import { formatPlatform, type Platform } from '../image/platform.ts';

/** What a reference resolved to. A caller that keeps it can ask later whether it has changed. */
export interface Resolution {
  /** Digest of the image manifest of the platform. */
  readonly manifestDigest: string;
  /** Digest of what the reference itself points to: the index, where there is one. */
  readonly targetDigest: string;
  /** The platform that was wanted, whether asked for or this machine's, as `linux/arm64`. */
  readonly wantedPlatform: string;
}

/**
 * Whether a reference that still points to the same target resolves to the same image as before.
 *
 * @param wanted the platform that is wanted now
 * @param isAsked whether it was asked for: an image without an index is then checked for it, for which its config has to be read
 */
export function isReusable(known: Resolution, wanted: Platform, isAsked: boolean): boolean {
  const hasIndex = known.targetDigest !== known.manifestDigest;
  return known.wantedPlatform === formatPlatform(wanted) && (hasIndex || !isAsked);
}
