import type { Tracing } from '@bhatti/tracing';
import type { RequestHandler } from 'express';
import { routeOf } from '../metrics/http-metrics.ts';
import { endedStatus } from './ended-status.ts';
import { contextOf } from './request-context.ts';

/** Polled by machines every few seconds: nobody looks for these in traces. */
const untraced: ReadonlySet<string> = new Set(['/health', '/ready', '/metrics']);

/** Records a span for each request; tasks that it queues belong to its trace. */
export function traceRequests(tracing: Tracing): RequestHandler {
  return (request, response, next) => {
    if (untraced.has(request.path)) {
      next();
      return;
    }
    const span = tracing.request(request.method, request.headers);
    response.once('close', () => {
      const route = routeOf(request);
      span.end(`${request.method} ${route}`, endedStatus(response), {
        'http.request.method': request.method,
        'http.route': route,
        request_id: contextOf(request).requestId,
      });
    });
    span.within(next);
  };
}
