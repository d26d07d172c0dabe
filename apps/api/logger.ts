import { type DestinationStream, type Logger, pino } from 'pino';
import * as z from 'zod';

const describable = z.object({
  name: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  /** BullMQ's are numbers. */
  code: z.union([z.string(), z.number()]).optional(),
  cause: z.unknown().optional(),
});

/** Bytes of lines that wait to be written. */
const BACKLOG = 1024 * 1024;

/** Lines of JSON on stderr; stdout stays free. */
export function createLogger(level: string): Logger {
  return pino({ level, base: { pid: process.pid, name: 'api' }, serializers: { err: describeError } }, stderr());
}

/** What cannot be written (the disk of the log is full, its terminal was closed) is kept for later, up to a limit, and is no reason to end. */
function stderr(): DestinationStream {
  const stream = pino.destination({ fd: 2, sync: true, maxLength: BACKLOG });
  stream.on('error', () => undefined);
  return stream;
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
