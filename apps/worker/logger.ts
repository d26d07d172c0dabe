import { type DestinationStream, destination, type Logger, pino } from 'pino';
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

/** Causes told of; a chain of them may be a ring. */
const CAUSE_DEPTH = 3;

/** Logs lines of JSON to stderr, each at once: the last words before a crash count most. */
export function createLogger(level: string): Logger {
  return pino({ level, base: { pid: process.pid, name: 'worker' }, serializers: { err: describeError } }, stderr());
}

/** What cannot be written (the disk of the log is full, its terminal was closed) is kept for later, up to a limit, and is no reason to end. */
function stderr(): DestinationStream {
  const stream = destination({ fd: 2, sync: true, maxLength: BACKLOG });
  stream.on('error', () => undefined);
  return stream;
}

/**
 * What of an error goes into the log: only fields that are known to be harmless. Errors of the Redis client carry the
 * arguments of the command beside them, job data among these.
 */
export function describeError(error: unknown, depth = 0): unknown {
  const parsed = describable.safeParse(error);
  if (!parsed.success) return { message: 'a value that is no error was thrown' };
  const { name, message, stack, code, cause } = parsed.data;
  return {
    type: name,
    message,
    code,
    stack,
    cause: cause === undefined || depth >= CAUSE_DEPTH ? undefined : describeError(cause, depth + 1),
  };
}
