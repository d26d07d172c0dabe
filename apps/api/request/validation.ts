import * as z from 'zod';
import { ApiError } from './errors.ts';

const queryValues = z.record(z.string(), z.unknown());

/**
 * Parses what a client sent. Throws ApiError 400 invalid_request whose message names every field that is wrong
 * and what to send instead.
 */
export function parseInput<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  part: 'body' | 'query',
): z.output<Schema> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const allowed = schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
  const twice = part === 'query' ? givenTwice(input) : [];
  const message = parsed.error.issues.map((issue) => describeIssue(issue, part, allowed, twice)).join('; ');
  throw new ApiError(400, 'invalid_request', message);
}

/** The names of query parameters that are given more than once. */
function givenTwice(query: unknown): string[] {
  const values = Object.entries(queryValues.safeParse(query).data ?? {});
  return values.filter(([, value]) => Array.isArray(value)).map(([name]) => name);
}

function describeIssue(
  issue: z.core.$ZodIssue,
  part: 'body' | 'query',
  allowed: readonly string[],
  twice: readonly string[],
): string {
  const noun = part === 'body' ? 'field' : 'query parameter';
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.map((key) => JSON.stringify(key.slice(0, 64))).join(', ');
    const hint = allowed.length > 0 ? `known here: ${allowed.join(', ')}` : 'none is known here';
    return `unknown ${noun}${issue.keys.length > 1 ? 's' : ''} ${names}; ${hint}`;
  }
  if (issue.path.length === 0) return `the ${part} must be a JSON object`;
  const name = issue.path.join('.');
  return `${noun} "${name}" ${twice.includes(name) ? 'is given twice: give it once' : issue.message}`;
}
