import { OciError } from '../error.ts';

/** Longest wait for the answer to a HEAD request, in ms: what does not answer it may well answer a GET, for which somebody waits. */
const TIMEOUT_MS = 3_000;

/** How long a host that has left one unanswered is sent none, in ms. */
const SPARED_MS = 5 * 60_000;

/** The HEAD requests of a client, which only save a GET: what they cannot tell, that will. */
export class HeadRequests {
  readonly #sparedUntil = new Map<string, number>();

  /**
   * What `ask` finds out, and false if it cannot, or if the host is known not to answer HEAD.
   *
   * @throws OciError `cancelled`; `unauthorized`, as a GET would, but by one attempt with the password: accounts are locked after some
   */
  async isTrue(
    host: string,
    signal: AbortSignal | undefined,
    ask: (signal: AbortSignal) => Promise<boolean>,
  ): Promise<boolean> {
    if ((this.#sparedUntil.get(host) ?? 0) > performance.now()) return false;
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    try {
      return await ask(signal === undefined ? limit : AbortSignal.any([signal, limit]));
    } catch (error) {
      if (!(error instanceof OciError) || signal?.aborted || error.code === 'unauthorized') throw error;
      if (limit.aborted) this.#sparedUntil.set(host, performance.now() + SPARED_MS);
      return false;
    }
  }
}
