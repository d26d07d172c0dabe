import type { Logger } from 'pino';
import type { ApiError } from './errors.ts';

/**
 * Tells why a request could not be answered. Not of a refusal: what the client can change, and that the server is stopping, the line
 * of the request tells by its status.
 *
 * @param thrown what the error was made of
 */
export function logFailure(log: Logger, { status, code, message }: ApiError, thrown: unknown): void {
  if (status < 500 || code === 'stopping') return;
  // Redis that is away is told of as a warning when it goes; a request that meets it is no worse.
  const level = code === 'redis_unavailable' ? 'warn' : 'error';
  log[level]({ err: thrown, code }, message);
}
