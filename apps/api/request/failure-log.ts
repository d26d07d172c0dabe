import type { Logger } from 'pino';
import type { ApiError } from './errors.ts';

/**
 * Logs why a request failed. A 4xx and `stopping` are left out: the status in the access log says enough.
 *
 * @param thrown the original error
 */
export function logFailure(log: Logger, { status, code, message }: ApiError, thrown: unknown): void {
  if (status < 500 || code === 'stopping') return;
  // The loss of Redis itself is logged as a warning; a request that runs into it is no worse.
  const level = code === 'redis_unavailable' ? 'warn' : 'error';
  log[level]({ err: thrown, code }, message);
}
