import type { Request, RequestHandler } from 'express';
import { Counter, collectDefaultMetrics, Histogram, type Registry } from 'prom-client';
import * as z from 'zod';
import { endedStatus } from '../request/ended-status.ts';

/** Express sets it once a route has matched; its path is the pattern (`/tasks/:id`), so that labels stay few. */
const matched = z.object({ route: z.object({ path: z.string() }) });

/** What this process serves: answers by route and status, and the process itself. */
export class HttpMetrics {
  readonly #requests: Counter<'method' | 'route' | 'status'>;
  readonly #seconds: Histogram<'method' | 'route'>;

  constructor(registry: Registry) {
    collectDefaultMetrics({ register: registry });
    this.#requests = new Counter({
      name: 'bhatti_http_requests_total',
      help: 'Answers of this API process, by route and status; 499 where the client left before.',
      labelNames: ['method', 'route', 'status'],
      registers: [registry],
    });
    this.#seconds = new Histogram({
      name: 'bhatti_http_request_duration_seconds',
      help: 'Time to answer; a client that watches a task is answered when there is news.',
      labelNames: ['method', 'route'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60],
      registers: [registry],
    });
  }

  /** Counts every request that passes when its answer is out. */
  readonly observe: RequestHandler = (request, response, next) => {
    const started = performance.now();
    response.once('close', () => {
      const status = endedStatus(response);
      const route = routeOf(request);
      this.#requests.inc({ method: request.method, route, status: String(status) });
      this.#seconds.observe({ method: request.method, route }, (performance.now() - started) / 1000);
    });
    next();
  };
}

/** The pattern of the route that has answered: `/tasks/:id`. */
export function routeOf(request: Request): string {
  const path = matched.safeParse(request).data?.route.path ?? '';
  return `${request.baseUrl}${path}` || 'none';
}
