import type { Dispatcher } from 'undici';
import { StallWatch } from './stall.ts';

/** Header fields by lower-case name; repeated fields are joined with commas. */
export type Headers = ReadonlyMap<string, string>;

/** Header fields as undici passes them. */
type HeaderFields = Readonly<Record<string, string | string[] | undefined>>;

export interface ResponseHead {
  readonly status: number;
  readonly headers: Headers;
}

/** Backpressure: while paused, nothing more is read from the connection. */
export interface Flow {
  pause(): void;
  resume(): void;
}

/**
 * Takes the body, chunk by chunk, without promises: this is the hot path of a download. A throw ends the connection, and the
 * exchange fails with what was thrown. `stop` ends the connection, and the exchange succeeds.
 */
export type Receiver = (chunk: Buffer, flow: Flow) => 'stop' | undefined;

export interface ExchangeRequest {
  readonly dispatcher: Dispatcher;
  readonly url: URL;
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Longest time without a byte of the response, counted from sending the request, in milliseconds. */
  readonly stallTimeoutMs: number;
  /** Longest time for the whole exchange, including the wait for a connection, in milliseconds; no limit when undefined. */
  readonly deadlineMs?: number;
  /** Called with the head; what it returns takes the body. */
  readonly receive: (head: ResponseHead) => Receiver;
}

/** The response was not complete in time, though bytes may have trickled in. */
export class DeadlineError extends Error {
  constructor(deadlineMs: number) {
    super(`no complete answer within ${deadlineMs / 1000} s`);
    this.name = 'DeadlineError';
  }
}

/**
 * Sends a request. Resolves when the body has ended. Rejects with the signal's reason, with what the receiver threw, with StallError or
 * DeadlineError, or with undici's or the system's error.
 */
export function exchange(request: ExchangeRequest): Promise<ResponseHead> {
  return new Promise((resolve, reject) => new Exchange(request, resolve, reject).start());
}

/** One request and its response: undici's callbacks, with nothing between them and the receiver. */
class Exchange implements Dispatcher.DispatchHandler, Flow {
  readonly #request: ExchangeRequest;
  readonly #resolve: (head: ResponseHead) => void;
  readonly #reject: (error: unknown) => void;
  readonly #silence = new StallWatch((error) => this.#fail(error));
  // A request that still waits for a connection fails at once, and is never sent (onRequestStart).
  readonly #onAbort = () => this.#fail(this.#request.signal?.reason);
  #deadline: NodeJS.Timeout | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #head: ResponseHead | undefined;
  #receiver: Receiver | undefined;
  #isOver = false;

  constructor(request: ExchangeRequest, resolve: (head: ResponseHead) => void, reject: (error: unknown) => void) {
    this.#request = request;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    const { dispatcher, url, method, headers, body, signal, deadlineMs } = this.#request;
    if (signal?.aborted) {
      this.#fail(signal.reason);
      return;
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (deadlineMs !== undefined) {
      this.#deadline = setTimeout(() => this.#fail(new DeadlineError(deadlineMs)), deadlineMs);
    }
    try {
      dispatcher.dispatch(
        {
          origin: url.origin,
          path: `${url.pathname}${url.search}`,
          method,
          headers: { ...headers },
          body: body ?? null,
          headersTimeout: 0,
          bodyTimeout: 0,
        },
        this,
      );
    } catch (error) {
      this.#fail(error);
    }
  }

  pause(): void {
    this.#silence.pause();
    this.#controller?.pause();
  }

  resume(): void {
    this.#silence.resume();
    this.#controller?.resume();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(new Error('the request was given up'));
    else this.#silence.allow(this.#request.stallTimeoutMs);
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, fields: HeaderFields): void {
    if (this.#isOver || status < 200) return;
    this.#silence.heard();
    try {
      this.#head = { status, headers: toHeaders(fields) };
      this.#receiver = this.#request.receive(this.#head);
    } catch (error) {
      this.#fail(error);
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const receive = this.#receiver;
    if (this.#isOver || receive === undefined) return;
    this.#silence.heard();
    try {
      if (receive(chunk, this) !== 'stop') return;
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#succeed();
    controller.abort(new Error('nothing more is wanted'));
  }

  onResponseEnd(): void {
    this.#succeed();
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#end(() => this.#reject(error));
  }

  #succeed(): void {
    const head = this.#head;
    if (head === undefined) this.#fail(new Error('the answer has no head'));
    else this.#end(() => this.#resolve(head));
  }

  #fail(error: unknown): void {
    this.#end(() => this.#reject(error));
    this.#controller?.abort(error instanceof Error ? error : new Error(String(error)));
  }

  /** Only the first end counts. */
  #end(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#deadline);
    this.#silence.stop();
    this.#request.signal?.removeEventListener('abort', this.#onAbort);
    settle();
  }
}

/** Collects a body of up to `limit` bytes. Beyond it, what `tooLarge` returns is thrown; without `tooLarge` the rest is dropped. */
export function collector(limit: number, tooLarge?: () => Error): { receive: Receiver; bytes: () => Buffer } {
  const chunks: Buffer[] = [];
  let length = 0;
  return {
    receive(chunk) {
      length += chunk.length;
      if (length > limit && tooLarge !== undefined) throw tooLarge();
      chunks.push(chunk);
      return length > limit ? 'stop' : undefined;
    },
    bytes: () => Buffer.concat(chunks).subarray(0, limit),
  };
}

function toHeaders(fields: HeaderFields): Headers {
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) headers.set(name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value);
  }
  return headers;
}
