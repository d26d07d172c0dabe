import { readFileSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { TaskView } from '@bhatti/tasks';
import { type ErrorRequestHandler, type Request, type RequestHandler, type Response, Router } from 'express';
import * as z from 'zod';
import type { Authenticate, Caller } from '../access/authentication.ts';
import { ApiError, toApiError } from '../request/errors.ts';
import { logFailure } from '../request/failure-log.ts';
import { contextOf } from '../request/request-context.ts';
import type { Method, Route } from '../request/route.ts';
import { readForm, readJson } from '../request/small-body.ts';
import type { TaskService } from '../tasks/task-service.ts';
import { deletionPage } from './deletion-page.ts';
import { homePage } from './home-page.ts';
import type { Html } from './html.ts';
import { imageList, ListedImage } from './image-list.ts';
import { errorPage, loginPage, type Visitor } from './layout.ts';
import { liveEvents } from './live-events.ts';
import { boardPath, queueBoard } from './queue-board.ts';
import type { Sessions } from './session.ts';
import { type RecentTasks, taskList } from './task-list.ts';
import { type TaskPageView, taskPage, taskState } from './task-page.ts';

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Tasks on the first page. */
const shownTasks = 20;

const mediaTypes = { 'icon.svg': 'image/svg+xml', 'page.js': 'text/javascript', 'style.css': 'text/css' } as const;

const form = z.record(z.string(), z.string()).catch({});
const listedImages = z.object({ images: z.array(ListedImage), next: z.string().nullable() });
const ownerQuery = z.object({ owner: z.string().optional() }).catch({});
const queuedPull = z.object({ task_id: z.string() });

export interface PagesOptions {
  /** The routes of the API, through which the pages read and change things. */
  readonly routes: readonly Route[];
  readonly tasks: TaskService;
  readonly sessions: Sessions;
  readonly authenticate: Authenticate;
}

/** Every path that `pages` answers; most others are the API's. */
export const pagePaths = /^\/(?:$|log(?:in|out)\/?$|ui\/|admin\/queues(?:\/|$))/;

/** A page, a fragment of one, or the target of a form. */
export interface PageRoute {
  readonly method: string;
  /** In Express's form: `/ui/tasks/:id`. */
  readonly path: string;
}

/** All that `pages` answers but Bull Board, which is below `boardPath`. */
export function pageRoutes(router: Router): PageRoute[] {
  return router.stack.flatMap(({ route }) =>
    route === undefined ? [] : route.stack.map(({ method }) => ({ method: method.toUpperCase(), path: route.path })),
  );
}

/** The pages for people, and Bull Board: HTML that reads and works without scripts. */
export function pages(options: PagesOptions): Router {
  return new Pages(options).router;
}

class Pages {
  readonly router = Router();
  readonly #options: PagesOptions;

  constructor(options: PagesOptions) {
    this.#options = options;
    const { router } = this;
    router.get('/', (request, response) => this.#home(request, response));
    router.get('/login', (_request, response) => send(response, 200, loginPage(null)));
    router.post('/login', readForm, (request, response) => this.#login(request, response));
    router.post('/logout', readForm, (request, response) => this.#logout(request, response));
    router.post('/ui/pull', readForm, (request, response) => this.#pull(request, response));
    router.get('/ui/events', (request, response) => this.#events(request, response));
    router.get('/ui/tasks', (request, response) => this.#tasks(request, response));
    router.get('/ui/images', (request, response) => this.#images(request, response));
    router.get('/ui/tasks/:id', (request, response) => this.#task(request, response, taskPage));
    router.get('/ui/tasks/:id/state', (request, response) => this.#task(request, response, taskState));
    router.post('/ui/tasks/:id/cancel', readForm, (request, response) => this.#cancel(request, response));
    router.get('/ui/images/:name/delete', (request, response) => this.#confirmDeletion(request, response));
    router.post('/ui/images/:name/delete', readForm, (request, response) => this.#deleteImage(request, response));
    for (const [name, mediaType] of Object.entries(mediaTypes)) {
      const content = readFileSync(new URL(`./assets/${name}`, import.meta.url));
      router.get(`/ui/assets/${name}`, (_request, response) => {
        response.set({ 'Content-Type': `${mediaType}; charset=utf-8`, 'Cache-Control': 'no-cache' }).send(content);
      });
    }
    const mayUseBoard: RequestHandler = async (request, _response, next) => {
      const visitor = await this.#visitor(request);
      if (!visitor.admin) throw new ApiError(403, 'forbidden', 'the queue board is for admins');
      if (request.method !== 'GET') options.sessions.requireOwnPage(request);
      next();
    };
    // The board's own parser answers 500 to invalid JSON; it leaves alone a body that has been read.
    router.use(boardPath, mayUseBoard, readJson, queueBoard(options.tasks));
    router.use(this.#answerError);
  }

  async #home(request: Request, response: Response): Promise<void> {
    const visitor = await this.#visitor(request);
    send(response, 200, homePage({ visitor, ...(await this.#overview(request, visitor)), refused: null }));
  }

  async #tasks(request: Request, response: Response): Promise<void> {
    const visitor = await this.#visitor(request);
    send(response, 200, taskList(await this.#recentTasks(visitor), visitor));
  }

  async #events(request: Request, response: Response): Promise<void> {
    await this.#visitor(request);
    response.set({ 'Content-Type': 'text/event-stream; charset=utf-8', 'X-Accel-Buffering': 'no' });
    response.flushHeaders();
    const events = liveEvents(this.#options.tasks, () => this.#visitor(request), contextOf(request).end.signal);
    // That the visitor leaves is no failure, nor is the end of the session, which the page notices.
    await pipeline(events, response).catch(() => response.destroy());
  }

  async #images(request: Request, response: Response): Promise<void> {
    const visitor = await this.#visitor(request);
    send(response, 200, imageList(await this.#listImages(request, visitor), visitor));
  }

  async #task(
    request: Request,
    response: Response,
    show: (view: TaskPageView, visitor: Visitor) => Html,
  ): Promise<void> {
    const visitor = await this.#visitor(request);
    const id = z.string().parse(request.params.id);
    const task = TaskView.parse((await this.#run('GET', '/tasks/:id', request, visitor, { params: { id } })).body);
    const [{ logs }, job] = await this.#options.tasks.withQueue(({ queue }) =>
      Promise.all([queue.getJobLogs(id), queue.getJob(id)]),
    );
    send(response, 200, show({ task, asked: job?.data ?? {}, log: logs }, visitor));
  }

  async #login(request: Request, response: Response): Promise<void> {
    const { authenticate, sessions } = this.#options;
    sessions.requireOwnPage(request);
    const token = form.parse(request.body).token?.trim() ?? '';
    const cookie = sessions.begin(token, request);
    try {
      await authenticate({ socket: request.socket, headers: { authorization: `Bearer ${token}` } });
    } catch (error) {
      if (toApiError(error).status !== 401) throw error;
      send(response, 401, loginPage('The token is not valid.'));
      return;
    }
    response.setHeader('Set-Cookie', cookie);
    response.redirect(303, '/');
  }

  async #logout(request: Request, response: Response): Promise<void> {
    const { sessions } = this.#options;
    sessions.requireOwnForm(request, form.parse(request.body).form_token);
    response.setHeader('Set-Cookie', sessions.end(request));
    response.redirect(303, '/login');
  }

  async #pull(request: Request, response: Response): Promise<void> {
    const visitor = await this.#visitor(request);
    const { form_token: formToken, force, ...given } = form.parse(request.body);
    this.#options.sessions.requireOwnForm(request, formToken);
    const fields = Object.fromEntries(Object.entries(given).filter(([, value]) => value.trim() !== ''));
    const body = { ...fields, ...(force === 'true' ? { force: true } : {}) };
    try {
      const reply = await this.#run('POST', '/images/pull', request, visitor, { body });
      const queued = queuedPull.safeParse(reply.body);
      response.redirect(303, queued.success ? `/ui/tasks/${queued.data.task_id}` : '/');
    } catch (error) {
      const { status, message } = toApiError(error);
      if (status >= 500) throw error;
      const refused = { message, ref: given.ref ?? '' };
      send(response, status, homePage({ visitor, ...(await this.#overview(request, visitor)), refused }));
    }
  }

  async #cancel(request: Request, response: Response): Promise<void> {
    const visitor = await this.#visitor(request);
    this.#options.sessions.requireOwnForm(request, form.parse(request.body).form_token);
    const id = z.string().parse(request.params.id);
    try {
      await this.#run('DELETE', '/tasks/:id', request, visitor, { params: { id } });
    } catch (error) {
      // It ended meanwhile: the page shows how.
      if (toApiError(error).code !== 'task_ended') throw error;
    }
    response.redirect(303, request.headers.referer?.endsWith(`/ui/tasks/${id}`) ? `/ui/tasks/${id}` : '/');
  }

  async #confirmDeletion(request: Request, response: Response): Promise<void> {
    const visitor = await this.#visitor(request);
    const name = z.string().parse(request.params.name);
    const { body } = await this.#run('GET', '/images/:name', request, visitor, {
      params: { name },
      query: ownerOf(request),
    });
    send(response, 200, deletionPage(ListedImage.parse(body), visitor));
  }

  async #deleteImage(request: Request, response: Response): Promise<void> {
    const visitor = await this.#visitor(request);
    this.#options.sessions.requireOwnForm(request, form.parse(request.body).form_token);
    const name = z.string().parse(request.params.name);
    try {
      await this.#run('DELETE', '/images/:name', request, visitor, { params: { name }, query: ownerOf(request) });
    } catch (error) {
      // Somebody else was faster: it is gone, as was wanted.
      if (toApiError(error).status !== 404) throw error;
    }
    response.redirect(303, '/');
  }

  async #overview(request: Request, visitor: Visitor) {
    const [images, tasks] = await Promise.all([this.#listImages(request, visitor), this.#recentTasks(visitor)]);
    return { images, tasks };
  }

  async #listImages(request: Request, visitor: Visitor): Promise<ListedImage[]> {
    const all: ListedImage[] = [];
    let cursor: string | null | undefined;
    do {
      const query = cursor === undefined ? {} : { cursor };
      const reply = await this.#run('GET', '/images', request, visitor, { query });
      const { images, next } = listedImages.parse(reply.body);
      all.push(...images);
      cursor = next;
    } while (cursor !== null);
    return all;
  }

  /** null while Redis is away. */
  async #recentTasks(visitor: Visitor): Promise<RecentTasks | null> {
    try {
      const { tasks, next } = await this.#options.tasks.list({
        limit: shownTasks,
        owner: visitor.admin ? undefined : visitor.owner,
      });
      return { tasks: tasks.map(({ view }) => view), areAll: next === null };
    } catch (error) {
      if (toApiError(error).status !== 503) throw error;
      return null;
    }
  }

  /** Calls a route of the API. */
  async #run(
    method: Method,
    path: string,
    request: Request,
    caller: Caller,
    { params = {}, query = {}, body }: { params?: Record<string, string>; query?: object; body?: unknown },
  ) {
    const route = this.#options.routes.find((one) => one.method === method && one.path === path);
    if (route === undefined) throw new Error(`there is no route ${method} ${path}`);
    const { log, requestId, end } = contextOf(request);
    const { headers } = request;
    const callerNow = () => this.#visitor(request);
    return route.handle({
      params,
      query,
      body,
      headers,
      method,
      caller,
      callerNow,
      signal: end.signal,
      log,
      requestId,
    });
  }

  async #visitor(request: Request): Promise<Visitor> {
    const { sessions, authenticate } = this.#options;
    const caller = await sessions.callerOf(request, authenticate);
    contextOf(request).caller = caller;
    return { ...caller, hasSession: sessions.isOpen(request), formToken: sessions.formToken(request) };
  }

  readonly #answerError: ErrorRequestHandler = (thrown, request, response, next) => {
    if (response.headersSent) {
      next(thrown);
      return;
    }
    const error = toApiError(thrown);
    const { status, message, headers } = error;
    const { requestId, log } = contextOf(request);
    if (status === 401) {
      response.redirect(303, '/login');
      return;
    }
    logFailure(log, error, thrown);
    response.set({ ...headers });
    send(response, status, errorPage(status, message, requestId, null));
  };
}

/** Whose image is meant: several owners may have one of the same name. */
function ownerOf(request: Request): { owner?: string } {
  return ownerQuery.parse(request.query);
}

function send(response: Response, status: number, page: Html): void {
  response
    .status(status)
    .set({ 'Content-Security-Policy': contentSecurityPolicy, 'Referrer-Policy': 'same-origin' })
    .type('html')
    .send(page.text);
}
