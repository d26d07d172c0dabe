import { Health } from '../api-schema.ts';
import { defineRoute, noBody, noQuery, type Route } from '../request/route.ts';
import type { Services } from '../services.ts';
import { version } from '../version.ts';

/** Is the API alive, and can it reach Redis? Always 200: image reads work without Redis. */
export function healthRoutes({ tasks }: Pick<Services, 'tasks'>): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/health',
      summary: 'Whether the server is alive, and reaches Redis. Needs no token.',
      open: true,
      query: noQuery,
      body: noBody,
      answers: { 200: { description: 'It is alive.', schema: Health } },
      handle: async () => ({
        status: 200,
        body: { status: 'ok', version, redis: (await tasks.reachable()) ? 'ok' : 'down' },
      }),
    }),
  ];
}
