import * as z from 'zod';
import { ApiError } from './errors.ts';

/** The most entries of one page. */
export const longestPage = 1000;

/** What is wrong with a cursor that this server did not make. */
const notOurs = 'must be the "next" of an earlier answer';

/** The query parameters of every list. */
export const pageQuery = {
  limit: z
    .string()
    .regex(/^[1-9]\d{0,3}$/, { error: `must be a number from 1 to ${longestPage}` })
    .transform(Number)
    .refine((limit) => limit <= longestPage, { error: `must be at most ${longestPage}` })
    .describe(`entries of a page, at most ${longestPage}`)
    .optional(),
  cursor: z.string().max(512, { error: notOurs }).describe('"next" of the page before').optional(),
};

/** A cursor is opaque to clients: where the page before ended, as text that survives a URL. */
export function encodeCursor(position: string): string {
  return Buffer.from(position, 'utf8').toString('base64url');
}

/** Throws ApiError 400 when the server did not make it. */
export function decodeCursor(cursor: string, form: RegExp): RegExpExecArray {
  const match = form.exec(Buffer.from(cursor, 'base64url').toString('utf8'));
  if (match !== null) return match;
  throw new ApiError(400, 'invalid_request', `query parameter "cursor" ${notOurs}`);
}
