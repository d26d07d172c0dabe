import type { Dispatcher } from 'undici';

/** Header fields by lower-case name; a field that was sent several times is joined with commas. */
export type Headers = ReadonlyMap<string, string>;

export interface ResponseHead {
  readonly status: number;
  readonly headers: Headers;
}

/** Holds the sender back: nothing more is read from the connection until it is let on. */
export interface Flow {
  pause(): void;
  resume(): void;
}

/**
 * Takes the body, chunk by chunk, without promises: this is the hot path of a download. To refuse, throw; the connection
 * is then ended and the exchange fails with what was thrown. `stop` ends the connection and the exchange well.
 */
export type Receiver = (chunk: Buffer, flow: Flow) => 'stop' | undefined;

export interface ExchangeRequest {
  readonly dispatcher: Dispatcher;
  readonly url: URL;
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Most time from sending the request to the head of the answer, in milliseconds. */
  readonly headersTimeoutMs: number;
  /** Most time without a byte of the body, in milliseconds. */
  readonly stallTimeoutMs: number;
  /** Most time for all of it, waiting for a connection included; no limit when left out. Milliseconds. */
  readonly deadlineMs?: number;
  /** Called with the head; what it returns takes the body. */
  readonly receive: (head: ResponseHead) => Receiver;
}

/** Nothing came for too long. */
export class StallError extends Error {
  readonly timeoutMs: number;

  constructor(timeoutMs: number) {
    super(`nothing came for ${timeoutMs / 1000} s`);
    this.name = 'StallError';
    this.timeoutMs = timeoutMs;
  }
}

/** The answer was not complete in time, though bytes may have trickled. */
export class DeadlineError extends Error {
  constructor(deadlineMs: number) {
    super(`no complete answer within ${deadlineMs / 1000} s`);
    this.name = 'DeadlineError';
  }
}

/**
 * One request and its answer, with undici's callbacks and nothing between them and the receiver. Resolves when the body is
 * over. Rejects with the signal's reason, with what the receiver threw, or with undici's or the system's error.
 */
export function exchange(request: ExchangeRequest): Promise<ResponseHead> {
  const { dispatcher, url, method, headers, body, signal, headersTimeoutMs, stallTimeoutMs, deadlineMs, receive } =
    request;
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined;
    let head: ResponseHead | undefined;
    let receiver: Receiver | undefined;
    let isOver = false;
    let isPaused = false;
    let hasHeard = false;
    let silence: NodeJS.Timeout | undefined;

    const end = (finish: () => void): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(deadline);
      clearTimeout(silence);
      signal?.removeEventListener('abort', onAbort);
      finish();
    };
    const fail = (error: unknown): void => {
      end(() => reject(error));
      controller?.abort(error instanceof Error ? error : new Error(String(error)));
    };
    // A request may still wait for a connection: it is given up at once, and never sent (onRequestStart).
    const onAbort = (): void => fail(signal?.reason);

    // Timers of our own: undici's tick only twice a second. Silence that our own holding back makes is no stall.
    const watchSilence = (timeoutMs: number): void => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        // In a process that was busy itself, the bytes may be waiting to be read: look once more before it is called a stall.
        hasHeard = false;
        setImmediate(() => {
          if (isOver) return;
          if (isPaused || hasHeard) silence?.refresh();
          else fail(new StallError(timeoutMs));
        });
      }, timeoutMs);
    };
    const flow: Flow = {
      pause() {
        isPaused = true;
        controller?.pause();
      },
      resume() {
        isPaused = false;
        if (!isOver) silence?.refresh();
        controller?.resume();
      },
    };

    const deadline =
      deadlineMs === undefined ? undefined : setTimeout(() => fail(new DeadlineError(deadlineMs)), deadlineMs);
    if (signal?.aborted) return fail(signal.reason);
    signal?.addEventListener('abort', onAbort, { once: true });

    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(started) {
        controller = started;
        if (isOver) return started.abort(new Error('the request was given up'));
        watchSilence(headersTimeoutMs);
      },
      onResponseStart(_, status, fields) {
        if (isOver || status < 200) return;
        hasHeard = true;
        watchSilence(stallTimeoutMs);
        try {
          head = { status, headers: toHeaders(fields) };
          receiver = receive(head);
        } catch (error) {
          fail(error);
        }
      },
      onResponseData(current, chunk) {
        if (isOver || receiver === undefined || head === undefined) return;
        hasHeard = true;
        silence?.refresh();
        try {
          if (receiver(chunk, flow) !== 'stop') return;
        } catch (error) {
          return fail(error);
        }
        const complete = head;
        end(() => resolve(complete));
        current.abort(new Error('nothing more is wanted'));
      },
      onResponseEnd() {
        if (head === undefined) return fail(new Error('the answer has no head'));
        const complete = head;
        end(() => resolve(complete));
      },
      onResponseError(_, error) {
        end(() => reject(error));
      },
    };
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
        handler,
      );
    } catch (error) {
      fail(error);
    }
  });
}

/** Gathers a body up to a limit in bytes; `tooLarge` is thrown beyond it, or the rest is cut off when it is undefined. */
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

function toHeaders(fields: Readonly<Record<string, string | string[] | undefined>>): Headers {
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) headers.set(name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value);
  }
  return headers;
}
