import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

export interface Call {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface Answer {
  readonly status: number;
  /** Sent as JSON, text as it is. */
  readonly body: unknown;
  readonly type?: string;
}

/** An answer that the handler writes itself, piece by piece. */
export type WrittenAnswer = (response: ServerResponse) => void | Promise<void>;

export type Handler = (call: Call) => Answer | WrittenAnswer | Promise<Answer | WrittenAnswer>;

/** Sends the states as server-sent events, one after the other, and then ends the stream. */
export function events(states: Iterable<unknown> | AsyncIterable<unknown>): WrittenAnswer {
  return async (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    for await (const state of states) response.write(`event: task\ndata: ${JSON.stringify(state)}\n\n`);
    response.end();
  };
}

/** A server on a unix socket (or, without one, on a free port) that answers as the handler says, and records the requests. */
export async function serveAnswers(
  handler: Handler,
  socketPath?: string,
): Promise<{ calls: Call[]; port: number; close(): Promise<void> }> {
  const calls: Call[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const call = {
      method: request.method ?? '',
      url: new URL(request.url ?? '/', 'http://localhost'),
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    calls.push(call);
    const answered = await handler(call);
    if (typeof answered === 'function') {
      await answered(response);
      return;
    }
    const { status, body, type = 'application/json' } = answered;
    response.writeHead(status, { 'content-type': type });
    response.end(status === 204 ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  };
  const server: Server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => {
    if (socketPath === undefined) server.listen(0, '127.0.0.1', resolve);
    else server.listen(socketPath, resolve);
  });
  const address = server.address();
  return {
    calls,
    port: address !== null && typeof address === 'object' ? address.port : 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
