import type { ServerResponse } from 'node:http';

/** The status of a response that is over; 499, as proxies log it, where the client left before its end. */
export function endedStatus(response: ServerResponse): number {
  return response.writableFinished ? response.statusCode : 499;
}
