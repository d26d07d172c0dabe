import type { ServerResponse } from 'node:http';

/** Tells whoever works on a request that nobody waits for the answer any more. Most requests are over before anybody asks. */
export class RequestEnd {
  readonly #stop: AbortSignal;
  #controller: AbortController | undefined;
  #over = false;
  #isClosed = false;

  /** @param stop aborted when the server stops */
  constructor(response: ServerResponse, stop: AbortSignal) {
    this.#stop = stop;
    const close = () => {
      this.#isClosed = true;
      // An answer that went out has nothing to end, and an abort makes an error with a stack: 6 % of a short request.
      if (!response.writableFinished) this.#end();
      stop.removeEventListener('abort', this.#end);
    };
    // A client may be gone before this is made, while it was looked up who it is.
    if (response.closed || response.destroyed) close();
    else response.once('close', close);
  }

  /** Aborted when the client is gone or the server stops. Made when asked for: that, too, costs a short request 3 %. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      // Not AbortSignal.any: the signal of the server outlives every request, and would keep something of each.
      if (!this.#isClosed) this.#stop.addEventListener('abort', this.#end, { once: true });
      if (this.#over || this.#stop.aborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  readonly #end = (): void => {
    this.#over = true;
    this.#controller?.abort();
  };
}
