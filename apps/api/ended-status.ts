import type { ServerResponse } from 'node:http';

/** The status of an answer that is over. A client that left before has seen none of ours; 499 is what proxies write then. */
export function endedStatus(response: ServerResponse): number {
  return response.writableFinished ? response.statusCode : 499;
}
