import type { TaskQueue } from '@bhatti/tasks';
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import type { RequestHandler } from 'express';
import * as z from 'zod';
import type { TaskService } from '../tasks/task-service.ts';

/** Where Bull Board is. */
export const boardPath = '/admin/queues';

/** Its scripts and styles are its own; it writes style attributes, and would load a font from elsewhere. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'self'",
  "frame-ancestors 'none'",
].join('; ');

const jobData = z.looseObject({ sealedAuth: z.unknown().optional() });

/**
 * Bull Board over the queue of tasks: to look, to retry what has failed, to pause and resume. Made when it is first asked
 * for, because there is no queue before Redis has answered. The caller checks who may see it.
 */
export function queueBoard(tasks: TaskService): RequestHandler {
  let board: RequestHandler | undefined;
  return async (request, response, next) => {
    board ??= makeBoard(await tasks.withQueue(async ({ queue }) => queue));
    response.setHeader('Content-Security-Policy', contentSecurityPolicy);
    await board(request, response, next);
  };
}

function makeBoard(queue: TaskQueue): RequestHandler {
  const server = new ExpressAdapter();
  server.setBasePath(boardPath);
  const adapter = new BullMQAdapter(queue, {
    description: 'Tasks: pulls and imports of images',
  });
  // Sealed, but not for anyone to see.
  adapter.setFormatter('data', (data) => {
    const parsed = jobData.safeParse(data);
    return parsed.success && parsed.data.sealedAuth !== undefined ? { ...parsed.data, sealedAuth: '[sealed]' } : data;
  });
  adapter.setFormatter('name', ({ name, data }) => {
    const { data: named } = z.object({ requested: z.string(), name: z.string() }).safeParse(data);
    return named === undefined ? String(name) : `${name} ${named.requested} as ${named.name}`;
  });
  createBullBoard({
    queues: [adapter],
    serverAdapter: server,
    options: { uiConfig: { boardTitle: 'bhatti images', hideRedisDetails: false } },
  });
  return server.getRouter();
}
