import { parseBytes } from '@bhatti/tasks';
import * as z from 'zod';

/** Parses a limit to bytes (see `parseBytes`), for zod's `transform`; `none` is no limit, 0 keeps nothing. */
export function parseCacheSize(text: string, context: z.RefinementCtx): number | undefined {
  if (text.trim().toLowerCase() === 'none') return undefined;
  const bytes = parseBytes(text);
  if (bytes !== null) return Math.floor(bytes);
  context.addIssue({
    code: 'custom',
    message: `"${text.slice(0, 32)}" is not a size; use 20GB, 512MiB, a number of bytes, or none`,
  });
  return z.NEVER;
}
