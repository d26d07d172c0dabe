import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { Logger } from 'pino';
import * as z from 'zod';
import type { Caller } from '../access/authentication.ts';
import { parseInput } from './validation.ts';

/**
 * A body that is sent piece by piece: texts that end when the call's signal aborts, or a stream of bytes that is destroyed
 * when the client is gone.
 */
export type Source = AsyncIterable<string> | Readable;

/** What a handler answers with. `body` is sent as JSON; without it the answer has none. */
export interface Reply {
  readonly status: number;
  readonly body?: unknown;
  /** The body is a text of this media type, sent as it is. */
  readonly contentType?: string;
  /** Sent in place of `body`, as it comes. */
  readonly stream?: Source;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request as it arrives at a route: not validated yet. */
export interface Call {
  readonly params: Readonly<Record<string, string>>;
  readonly query: unknown;
  readonly body: unknown;
  readonly headers: IncomingHttpHeaders;
  /** As sent: a GET route answers HEAD, too. */
  readonly method: string;
  readonly caller: Caller;
  /** Authenticates the caller again, for answers that take long. Rejects with ApiError 401 once the token is revoked. */
  readonly callerNow: () => Promise<Caller>;
  /** Aborted when the client is gone or the server stops. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** As in the log. */
  readonly requestId: string;
}

/** What a route may answer with, for documentation and tests. */
export interface Answer {
  readonly description: string;
  /** Of the JSON body, one of `namedSchemas`; without it the answer has no body, or one of `contentType`. */
  readonly schema?: z.ZodType;
  readonly contentType?: string;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** One route of the API, as data: what Express is given, what a test walks, what documentation is made from. */
export interface Route {
  readonly method: Method;
  /** In Express's form: `/tasks/:id`. */
  readonly path: string;
  readonly summary: string;
  /** Answers without a token. */
  readonly open: boolean;
  readonly query: z.ZodType;
  readonly body: z.ZodType;
  /** By status. Problems need not be named: every route may answer with one. */
  readonly answers: Readonly<Record<number, Answer>>;
  readonly handle: (call: Call) => Promise<Reply>;
}

interface RouteDefinition<Query extends z.ZodType, Body extends z.ZodType> {
  readonly method: Method;
  readonly path: string;
  readonly summary: string;
  readonly open?: boolean;
  readonly query: Query;
  readonly body: Body;
  readonly answers: Readonly<Record<number, Answer>>;
  readonly handle: (call: Call & { query: z.output<Query>; body: z.output<Body> }) => Promise<Reply>;
}

/** For a route that takes no query parameters. */
export const noQuery = z.strictObject({});

/** For a route that takes no body; one that is sent is not read. */
export const noBody = z.undefined();

/** A body of any length that the client has not been asked for yet. */
export class UnreadBody {
  readonly #stream: Readable;
  readonly #ask: () => void;

  /** @param ask tells a client that waits for it (`Expect: 100-continue`) to send the body */
  constructor(stream: Readable, ask: () => void) {
    this.#stream = stream;
    this.#ask = ask;
  }

  open(): Readable {
    this.#ask();
    return this.#stream;
  }
}

/** For a route that takes its body as a stream. */
export const streamBody = z.instanceof(UnreadBody);

/** Makes a route whose handler gets a query and a body that its schemas have parsed. */
export function defineRoute<Query extends z.ZodType, Body extends z.ZodType>(
  definition: RouteDefinition<Query, Body>,
): Route {
  return {
    ...definition,
    open: definition.open ?? false,
    handle: async (call) => {
      const query = parseInput(definition.query, call.query, 'query');
      const body = parseInput(definition.body, call.body, 'body');
      // Into the call itself: a copy would evaluate its `signal` and `log`, which are created on demand.
      return definition.handle(Object.assign(call, { query, body }));
    },
  };
}
