import type { Publication } from '@bhatti/store';

/**
 * Discards an unfinished publication after a failure. That failure is the one to report: should the files not be removed
 * either, they are left to housekeeping.
 */
export async function discard(publication: Publication): Promise<void> {
  await publication.discard().catch(() => {});
}
