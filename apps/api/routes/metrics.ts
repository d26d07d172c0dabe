import type { Metrics } from '../metrics/metrics.ts';
import { ApiError } from '../request/errors.ts';
import { defineRoute, noBody, noQuery, type Route } from '../request/route.ts';

/** For Prometheus, with the token of an admin: what is counted tells of every owner's work. */
export function metricsRoutes(metrics: Metrics): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/metrics',
      summary: 'Metrics in the text format of Prometheus. For admins.',
      query: noQuery,
      body: noBody,
      answers: { 200: { description: 'The metrics.', contentType: 'text/plain' } },
      handle: async ({ caller, log }) => {
        if (!caller.admin) throw new ApiError(403, 'forbidden', 'metrics are for admins: send the token of one');
        return { status: 200, contentType: metrics.contentType, body: await metrics.text(log) };
      },
    }),
  ];
}
