import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import type { Caller } from '../access/authentication.ts';
import type { RequestEnd } from './request-end.ts';

/** What is known of a request while it is answered. */
export class RequestContext {
  readonly requestId: string;
  /** Ends the work on it when nobody waits for the answer. */
  readonly end: RequestEnd;
  /** Set once the caller is known. */
  caller?: Caller;
  readonly #serverLog: Logger;
  #log: Logger | undefined;

  constructor(requestId: string, end: RequestEnd, serverLog: Logger) {
    this.requestId = requestId;
    this.end = end;
    this.#serverLog = serverLog;
  }

  /** Adds the request id to every line. Made when asked for: most requests log nothing. */
  get log(): Logger {
    this.#log ??= this.#serverLog.child({ request_id: this.requestId });
    return this.#log;
  }

  /** Whether a line of this level is written at all. */
  logs(level: 'debug' | 'info'): boolean {
    return this.#serverLog.isLevelEnabled(level);
  }
}

const contexts = new WeakMap<IncomingMessage, RequestContext>();

export function setContext(request: IncomingMessage, context: RequestContext): void {
  contexts.set(request, context);
}

export function contextOf(request: IncomingMessage): RequestContext {
  const context = contexts.get(request);
  if (context === undefined) throw new Error('the request has no context: identifyRequest must run first');
  return context;
}
