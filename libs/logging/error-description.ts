import * as z from 'zod';

const describable = z.object({
  name: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  /** BullMQ's are numbers. */
  code: z.union([z.string(), z.number()]).optional(),
  cause: z.unknown().optional(),
});

/** Causes told of; a chain of them may be a ring. */
const CAUSE_DEPTH = 3;

/**
 * What of an error goes into the log: only fields that are known to be harmless. Errors of the HTTP and Redis libraries
 * carry bodies and the arguments of commands beside them, job data among these.
 */
export function describeError(error: unknown, depth = 0): unknown {
  const parsed = describable.safeParse(error);
  if (!parsed.success) return { message: 'a value that is not an error was thrown' };
  const { name, message, stack, code, cause } = parsed.data;
  return {
    type: name,
    message,
    code,
    stack,
    cause: cause === undefined || depth >= CAUSE_DEPTH ? undefined : describeError(cause, depth + 1),
  };
}
