import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { ApiError } from './errors.ts';

/** Who asks: whose tasks and images a request sees. */
export interface Caller {
  readonly owner: string;
  readonly admin: boolean;
}

/** Finds out who sends a request, or throws ApiError 401. */
export type Authenticate = (request: Pick<IncomingMessage, 'headers'>) => Caller;

const localCaller: Caller = { owner: 'local', admin: true };

/** The unix socket: whoever can open it may do everything, its file mode and its folder's mode are the guard. */
export const trustSocket: Authenticate = () => localCaller;

/** The TCP listener: `Authorization: Bearer bht_…`, compared in constant time. */
export function requireBearer(token: string): Authenticate {
  const expected = digest(token);
  return (request) => {
    const header = request.headers.authorization;
    if (header === undefined) {
      throw unauthorized('the Authorization header is missing; send "Authorization: Bearer bht_..."', 'Bearer');
    }
    const given = /^Bearer +(\S+) *$/i.exec(header)?.[1];
    // Digests have one length, so that the comparison cannot tell how long the token is.
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      throw unauthorized('the token is not valid; "bhatti serve status" prints it', 'Bearer error="invalid_token"');
    }
    return localCaller;
  };
}

function unauthorized(message: string, challenge: string): ApiError {
  return new ApiError(401, 'unauthorized', message, { headers: { 'WWW-Authenticate': challenge } });
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
