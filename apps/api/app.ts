import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import type { Logger } from 'pino';
import * as z from 'zod';
import type { Authenticate } from './access/authentication.ts';
import { pagePaths } from './page/pages.ts';
import { logRequest } from './request/access-log.ts';
import { ApiError, problemOf, stopping, toApiError } from './request/errors.ts';
import { logFailure } from './request/failure-log.ts';
import { contextOf, RequestContext, setContext } from './request/request-context.ts';
import { RequestEnd } from './request/request-end.ts';
import { requestId } from './request/request-id.ts';
import { noBody, type Reply, type Route, type Source, streamBody, UnreadBody } from './request/route.ts';
import { askForBody, readJson } from './request/small-body.ts';
import { version } from './version.ts';

export interface AppOptions {
  readonly routes: readonly Route[];
  /** How this listener authenticates its callers. */
  readonly authenticate: Authenticate;
  /** Refuses requests before they are routed; null where callers authenticate with tokens. */
  readonly guard: RequestHandler | null;
  readonly log: Logger;
  /** The HTML pages, which authenticate their visitors themselves. */
  readonly pages: RequestHandler;
  /** Sees every request, for the metrics. */
  readonly observe: RequestHandler;
  /** Sees every request, for traces; null where there are none. */
  readonly trace: RequestHandler | null;
  /** Aborted when the server stops: long polls end, new requests are told to come back. */
  readonly stop: AbortSignal;
}

/** A client that reads nothing of an answer for this long is disconnected. Event streams send something every 15 s. */
const stalledMilliseconds = 120_000;

const pathParameters = z.record(z.string(), z.string());

/**
 * The Express application of one listener. In order: the turn, request id and log line, refusals, pages, the open routes,
 * authentication, the other routes, 404. Every error leaves as {error, code, request_id}.
 */
export function createApp(options: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.enable('case sensitive routing');
  app.set('query parser', 'simple');

  app.use(waitForTurn, identifyRequest(options), options.observe);
  if (options.trace !== null) app.use(options.trace);
  app.use(refuseWhenStopping(options.stop));
  if (options.guard !== null) app.use(options.guard);
  app.use(onlyFor(pagePaths, options.pages));
  mount(
    app,
    options.routes.filter((route) => route.open),
    options,
  );
  app.use(checkCaller(options.authenticate));
  mount(
    app,
    options.routes.filter((route) => !route.open),
    options,
  );
  app.use(() => {
    throw new ApiError(404, 'not_found', 'there is no such route');
  });
  app.use(answerError);
  return app;
}

/**
 * A request that was sent before the one ahead of it on its connection was answered waits for that: its answer would be made and kept
 * until then, and when the client left meanwhile, Node would tell nobody that it is not wanted.
 */
const waitForTurn: RequestHandler = (_request, response, next) => {
  if (response.socket === null) response.once('socket', () => next());
  else next();
};

function identifyRequest({ log, stop }: AppOptions): RequestHandler {
  return (request, response, next) => {
    const id = requestId(request.headers['x-request-id']);
    setContext(request, new RequestContext(id, new RequestEnd(response, stop), log));
    response.setHeader('X-Request-Id', id);
    // Lets a client of another release warn about it.
    response.setHeader('X-Bhatti-Version', version);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('Cache-Control', 'no-store');
    // In case a browser opens an answer. There are no CORS headers: pages of other origins must not read any.
    response.setHeader('Content-Security-Policy', "default-src 'none'; frame-ancestors 'none'");
    response.setHeader('Referrer-Policy', 'no-referrer');
    response.setHeader('X-Frame-Options', 'DENY');
    response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
    logRequest(request, response);
    cutUnread(request, response);
    next();
  };
}

/** A router tries each of its paths in turn: those of the pages would take a tenth of a short request. */
function onlyFor(paths: RegExp, handler: RequestHandler): RequestHandler {
  return (request, response, next) => (paths.test(request.path) ? handler(request, response, next) : next());
}

/** A kept-alive connection can bring one more request after the listener is closed. */
function refuseWhenStopping(stop: AbortSignal): RequestHandler {
  return (_request, _response, next) => next(stop.aborted ? stopping() : undefined);
}

function checkCaller(authenticate: Authenticate): RequestHandler {
  return async (request, _response, next) => {
    contextOf(request).caller = await authenticate(request);
    next();
  };
}

/** Mounts the routes, and behind them 405 for every other method on their paths. */
function mount(app: Express, routes: readonly Route[], options: AppOptions): void {
  for (const route of routes) {
    const handlers = [
      ...(route.body === noBody || route.body === streamBody ? [] : [readJson]),
      runRoute(route, options),
    ];
    if (route.method === 'GET') app.get(route.path, handlers);
    else if (route.method === 'POST') app.post(route.path, handlers);
    else if (route.method === 'PUT') app.put(route.path, handlers);
    else app.delete(route.path, handlers);
  }
  // `/images/:name` must not shadow the 405 of `/images/pull`: the paths without parameters come first.
  const [literal, others] = [routes.filter(isLiteral), routes.filter((route) => !isLiteral(route))];
  for (const path of new Set([...literal, ...others].map((route) => route.path))) {
    app.all(path, refuseMethod(routes.filter((route) => route.path === path)));
  }
}

function isLiteral({ path }: Route): boolean {
  return !path.includes(':');
}

/** Ms that a client has to read the answer before the connection is cut, where its body was not read to the end. */
const lingerMilliseconds = 2_000;

/** Node would go on reading for as long as the client sends. Cutting the connection at once would lose the answer. */
function cutUnread(request: Request, response: Response): void {
  response.once('finish', () => {
    if (request.complete) return;
    setTimeout(() => request.complete || request.socket.destroy(), lingerMilliseconds).unref();
  });
}

function runRoute(route: Route, { stop, authenticate }: AppOptions): RequestHandler {
  return async (request, response) => {
    const context = contextOf(request);
    const reply = await route.handle({
      params: pathParameters.parse(request.params),
      query: request.query,
      body: route.body === streamBody ? new UnreadBody(request, () => askForBody(request, response)) : request.body,
      headers: request.headers,
      method: request.method,
      // An open route has no caller of its own; it must not show anything that belongs to one.
      caller: context.caller ?? { owner: '', admin: false },
      callerNow: () => authenticate(request),
      get signal() {
        return context.end.signal;
      },
      get log() {
        return context.log;
      },
      requestId: context.requestId,
    });
    // Otherwise the connection is kept for a next request, which nobody will answer.
    if (stop.aborted) response.setHeader('Connection', 'close');
    if (reply.stream === undefined) answer(response, reply);
    else await sendStream(response, reply, reply.stream, context.log);
  };
}

/** Once an answer has begun, an error can only cut it short. The pipeline destroys the source, which closes its file. */
async function sendStream(response: Response, reply: Reply, source: Source, log: Logger): Promise<void> {
  response.status(reply.status).set({ ...reply.headers });
  if (reply.contentType !== undefined) response.set('Content-Type', reply.contentType);
  // Nothing reads the source: it would stay open until the client gave up.
  if (response.req.method === 'HEAD') {
    if (source instanceof Readable) source.destroy();
    response.end();
    return;
  }
  // A client that has stopped reading must not keep a deleted image on the disk.
  response.setTimeout(stalledMilliseconds, () => response.destroy());
  response.flushHeaders();
  try {
    await pipeline(source, response);
  } catch (error) {
    const left = response.errored === null && response.destroyed;
    log[left ? 'debug' : 'warn']({ err: error }, 'a stream ended early');
    response.destroy();
  }
}

function refuseMethod(routes: readonly Route[]): RequestHandler {
  // Every GET route answers HEAD, too.
  const methods = routes.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  const allowed = methods.join(', ');
  return (request) => {
    throw new ApiError(405, 'method_not_allowed', `${request.method} is not possible here; use ${allowed}`, {
      headers: { Allow: allowed },
    });
  };
}

const answerError: ErrorRequestHandler = (thrown, request, response, next) => {
  if (response.headersSent) {
    next(thrown);
    return;
  }
  const error = toApiError(thrown);
  const context = contextOf(request);
  logFailure(context.log, error, thrown);
  answer(response, { status: error.status, headers: error.headers, body: problemOf(error, context.requestId) });
};

function answer(response: Response, reply: Reply): void {
  response.status(reply.status);
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value);
  if (reply.body === undefined) response.end();
  else if (reply.contentType !== undefined) response.set('Content-Type', reply.contentType).send(String(reply.body));
  else {
    // Ends in a newline for those who use curl. Not `send`: it spends 6 % of a short request working out what is known here.
    const text = `${JSON.stringify(reply.body)}\n`;
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.setHeader('Content-Length', Buffer.byteLength(text));
    response.end(text);
  }
}
