import { setTimeout as sleep } from 'node:timers/promises';
import { cancelledError } from '../cancellation.ts';
import { OciError } from '../error.ts';

export interface RetryOptions {
  /** Attempts in a row without progress before an error is final; at least 1. */
  readonly attempts: number;
  /** Pause after the first failure in milliseconds; it doubles with each further one. */
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** If the registry asks for a longer pause than this, the error is final at once. */
  readonly maxRetryAfterMs: number;
}

/**
 * Milliseconds before the next attempt: exponential backoff with jitter between half and all of it, so that clients which failed
 * together do not return together, but never less than the registry asks for.
 *
 * @param failures failures in a row, from 1
 */
export function retryDelay(
  failures: number,
  retryAfterMs: number | undefined,
  options: RetryOptions,
  random = Math.random,
): number {
  const full = Math.min(options.maxDelayMs, options.baseDelayMs * 2 ** (failures - 1));
  return Math.max(retryAfterMs ?? 0, full * (0.5 + random() / 2));
}

/**
 * Milliseconds that a `Retry-After` header asks for, in seconds or as a date (RFC 9110, 10.2.3); undefined when it is absent or
 * malformed.
 *
 * @param now ms since the epoch, by the sender's clock where that is known: ours may be wrong
 */
export function parseRetryAfter(header: string | undefined, now = Date.now()): number | undefined {
  const text = header?.trim() ?? '';
  if (/^[0-9]{1,9}(?:\.[0-9]+)?$/.test(text)) return Number(text) * 1000;
  if (!/[a-z]/i.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Whether to try again after an error, given the number of failures in a row. */
export function mayRetry(error: OciError, failures: number, options: RetryOptions): boolean {
  return error.retryable && failures < options.attempts && (error.retryAfterMs ?? 0) <= options.maxRetryAfterMs;
}

/** Waits. @throws OciError `cancelled` as soon as the signal fires */
export async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(delayMs, undefined, { signal });
  } catch (error) {
    if (signal?.aborted) throw cancelledError(signal);
    throw error;
  }
}

/** A failed attempt that will be retried, for logs. */
export interface RetryNotice {
  readonly error: OciError;
  readonly delayMs: number;
  /** Failures in a row. */
  readonly failures: number;
}

/** Runs until it succeeds or fails for good; for requests that cannot make partial progress. */
export async function withRetries<T>(
  run: () => Promise<T>,
  options: RetryOptions,
  signal: AbortSignal | undefined,
  onRetry: (notice: RetryNotice) => void,
): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await run();
    } catch (error) {
      // An unreachable host is reported at once: a wrong name or port is the likeliest cause.
      if (!(error instanceof OciError) || error.code === 'registry_unreachable' || !mayRetry(error, failures, options))
        throw error;
      const delayMs = retryDelay(failures, error.retryAfterMs, options);
      onRetry({ error, delayMs, failures });
      await pause(delayMs, signal);
    }
  }
}
