import type { ServerResponse } from 'node:http';

/** Tells those who work on a request when nobody waits for the answer any more. Most requests end before anyone asks. */
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
      // Behind a complete answer there is no work to stop, and an abort creates an error with a stack: 6 % of a short request.
      if (!response.writableFinished) this.#end();
      stop.removeEventListener('abort', this.#end);
    };
    // The client may have left while it was being authenticated.
    if (response.closed || response.destroyed) close();
    else response.once('close', close);
  }

  /** Aborted when the client is gone or the server stops. Created on demand: that alone is 3 % of a short request. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      // Not AbortSignal.any: the server's signal outlives every request, and would retain something of each.
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
