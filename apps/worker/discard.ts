import type { Publication } from '@bhatti/store';

/**
 * Drops what was being made because of a failure. That failure is what counts: one to remove the files is not told of, they
 * are left to housekeeping.
 */
export async function discard(publication: Publication): Promise<void> {
  await publication.discard().catch(() => {});
}
