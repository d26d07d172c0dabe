import type { IncomingMessage, ServerResponse } from 'node:http';
import { contextOf } from './request-context.ts';

/**
 * Writes one line when the answer is out: method, path (never the query), status, milliseconds, owner. Reads are
 * `debug`, because a watcher makes one every few seconds; what changes something, and every refusal, is `info`.
 */
export function logRequest(request: IncomingMessage, response: ServerResponse): void {
  const started = performance.now();
  const path = (request.url ?? '').split('?', 1)[0];
  response.once('close', () => {
    const { log, caller } = contextOf(request);
    const line = {
      method: request.method,
      path,
      // A client that leaves before its answer is no status of ours; 499 is what proxies write then.
      status: response.writableFinished ? response.statusCode : 499,
      duration_ms: Math.round(performance.now() - started),
      owner: caller?.owner,
    };
    const quiet = request.method === 'GET' && line.status < 400;
    log[quiet ? 'debug' : 'info'](line, 'request');
  });
}
