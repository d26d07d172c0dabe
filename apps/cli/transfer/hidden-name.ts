import { createHash } from 'node:crypto';
import { basename } from 'node:path';

/** Bytes that a name may have to stay within 255 (NAME_MAX) with a dot before it, and what an export puts behind it. */
const LONGEST_NAME = 190;

/** What the names begin with of the files that an export has beside its target while it is under way. */
export function hiddenName(path: string): string {
  const name = basename(path);
  if (Buffer.byteLength(name) <= LONGEST_NAME) return `.${name}`;
  return `.${createHash('sha256').update(name).digest('hex')}`;
}
