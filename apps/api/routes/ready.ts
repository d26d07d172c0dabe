import { RecentlyTold } from '@bhatti/logging';
import { Readiness } from '../api-schema.ts';
import { checkReadiness } from '../readiness.ts';
import { ReadinessLog } from '../readiness-log.ts';
import { defineRoute, noBody, noQuery, type Route } from '../request/route.ts';
import type { Services } from '../services.ts';

/** Ms that a result is reused: anybody may ask, and each check starts processes and writes a file. */
const keepMilliseconds = 500;

/** Would a pull be done? For orchestrators, which have no token; load balancers ask `/health`. */
export function readyRoutes(services: Pick<Services, 'store' | 'tasks'>): Route[] {
  const told = new RecentlyTold();
  let latest: { readonly at: number; readonly readiness: Promise<Readiness> } | undefined;
  return [
    defineRoute({
      method: 'GET',
      path: '/ready',
      summary: 'Whether a pull requested now would be done: each condition with its reason. Needs no token.',
      open: true,
      query: noQuery,
      body: noBody,
      answers: {
        200: { description: 'It would be done.', schema: Readiness },
        503: { description: 'It would not be done; the body says why.', schema: Readiness },
      },
      handle: async ({ log: requestLog }) => {
        const log = new ReadinessLog(requestLog, told);
        const now = performance.now();
        if (latest === undefined || now - latest.at >= keepMilliseconds) {
          latest = { at: now, readiness: checkReadiness(services, log) };
        }
        const readiness = await latest.readiness;
        log.checked(readiness);
        if (readiness.status === 'ready') return { status: 200, body: readiness };
        return { status: 503, headers: { 'Retry-After': '2' }, body: readiness };
      },
    }),
  ];
}
