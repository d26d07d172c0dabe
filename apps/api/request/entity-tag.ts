import { createHash } from 'node:crypto';
import { ApiError } from './errors.ts';

/** The strong entity tag of a JSON body (RFC 9110, 8.8.3). */
export function etagOf(body: unknown): string {
  return `"${createHash('sha256').update(JSON.stringify(body)).digest('base64url')}"`;
}

/** Whether `If-None-Match` names the tag: then the client has the body already. Compared weakly (RFC 9110, 13.1.2). */
export function isUnchanged(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  const tags = ifNoneMatch.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return tags.includes('*') || tags.includes(etag);
}

/**
 * Throws ApiError 412 `precondition_failed` unless `If-Match`, if given, names one of the tags. Compared strongly (RFC 9110,
 * 13.1.1): a client that deletes or resumes means exactly these bytes.
 */
export function requireMatch(ifMatch: string | undefined, etags: readonly string[]): void {
  if (ifMatch === undefined) return;
  const wanted = ifMatch.split(',').map((tag) => tag.trim());
  if (wanted.includes('*') || wanted.some((tag) => etags.includes(tag))) return;
  throw new ApiError(
    412,
    'precondition_failed',
    'the image is not the one that If-Match names any more; look at it again',
  );
}
