import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import type { Caller } from './authentication.ts';

/** What is known of a request while it is answered. */
export interface RequestContext {
  readonly requestId: string;
  /** Adds the request id to every line. */
  readonly log: Logger;
  /** Set once the caller is known. */
  caller?: Caller;
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
