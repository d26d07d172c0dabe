import { isIPv6 } from 'node:net';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { ApiError } from '../request/errors.ts';

/** Wrong tokens that an address may send in a window. */
const failuresAllowed = 20;
const windowSeconds = 60;

/**
 * Counts wrong tokens by remote address (IPv6: its /64, which is what one customer has), in this process. A valid token is
 * never refused for what others sent: behind a proxy all come from one address, and 238 random bits are not guessed.
 */
export class FailureLimit {
  readonly #limiter = new RateLimiterMemory({ points: failuresAllowed, duration: windowSeconds });

  /** Throws ApiError 429 with `Retry-After` once there were too many. */
  async count(address: string | undefined): Promise<void> {
    try {
      await this.#limiter.consume(networkOf(address ?? 'unknown'));
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      const seconds = Math.max(1, Math.ceil(refused.msBeforeNext / 1000));
      throw new ApiError(
        429,
        'too_many_failures',
        `too many wrong tokens from this address; check the token, and try again in ${seconds} s`,
        { headers: { 'Retry-After': String(seconds) } },
      );
    }
  }
}

function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !isIPv6(address)) return mapped ?? address;
  const [before = '', after] = address.split('::');
  const head = before.split(':').filter((group) => group !== '');
  const tail = after === undefined ? [] : after.split(':').filter((group) => group !== '');
  const groups = [...head, ...Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => '0'), ...tail];
  return groups.slice(0, 4).join(':');
}
