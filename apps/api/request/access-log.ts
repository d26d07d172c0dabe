import type { IncomingMessage, ServerResponse } from 'node:http';
import { endedStatus } from './ended-status.ts';
import { contextOf } from './request-context.ts';

/**
 * Writes one line when the answer is out: method, path (never the query), status, milliseconds, owner. Reads are
 * `debug`, because a watcher makes one every few seconds; what changes something, and every refusal, is `info`.
 */
export function logRequest(request: IncomingMessage, response: ServerResponse): void {
  const started = performance.now();
  const path = (request.url ?? '').split('?', 1)[0];
  response.once('close', () => {
    const context = contextOf(request);
    const status = endedStatus(response);
    const level = request.method === 'GET' && status < 400 ? 'debug' : 'info';
    if (!context.logs(level)) return;
    context.log[level](
      {
        method: request.method,
        path,
        status,
        duration_ms: Math.round(performance.now() - started),
        owner: context.caller?.owner,
      },
      'request',
    );
  });
}
