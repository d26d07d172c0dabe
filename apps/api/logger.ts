import { type Logger, pino } from 'pino';
import * as z from 'zod';

const describable = z.object({
  name: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  /** BullMQ's are numbers. */
  code: z.union([z.string(), z.number()]).optional(),
  cause: z.unknown().optional(),
});

/** Lines of JSON on stderr; stdout stays free. */
export function createLogger(level: string): Logger {
  return pino(
    { level, base: { pid: process.pid, name: 'api' }, serializers: { err: describeError } },
    pino.destination({ fd: 2, sync: true }),
  );
}

/**
 * What of an error goes into the log: only fields that are known to be harmless. Errors of the HTTP and Redis
 * libraries carry bodies and command arguments beside them.
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
    cause: cause === undefined || depth >= 3 ? undefined : describeError(cause, depth + 1),
  };
}
