import { type DestinationStream, destination, type Logger, pino } from 'pino';
import { describeError } from './error-description.ts';

/** Bytes of lines that wait to be written. */
const BACKLOG = 1024 * 1024;

export interface CreateLoggerOptions {
  /** Of the program; stands in each line. */
  readonly name: string;
  /** The least that is logged, as pino names it. */
  readonly level: string;
  /** Where lines go; stderr when it is left out. */
  readonly destination?: DestinationStream;
}

/** Logs lines of JSON, each at once: the last words before a crash count most. An error stands in the field `err`. */
export function createLogger({ name, level, destination = stderr() }: CreateLoggerOptions): Logger {
  return pino({ level, base: { pid: process.pid, name }, serializers: { err: describeError } }, destination);
}

/** What cannot be written (the disk of the log is full, its terminal was closed) is kept for later, up to a limit, and is no reason to end. */
function stderr(): DestinationStream {
  const stream = destination({ fd: 2, sync: true, maxLength: BACKLOG });
  stream.on('error', () => undefined);
  return stream;
}
