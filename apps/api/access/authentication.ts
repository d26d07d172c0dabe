import type { IncomingHttpHeaders } from 'node:http';
import { LOCAL_USER, type UserList } from '@bhatti/store';
import { ApiError } from '../request/errors.ts';
import type { FailureLimit } from './failure-limit.ts';

/** Who asks: whose tasks and images a request sees. */
export interface Caller {
  readonly owner: string;
  readonly admin: boolean;
}

/** The parts of a request that tell who sent it, and from where. */
export interface RequestOrigin {
  readonly headers: IncomingHttpHeaders;
  readonly socket?: { readonly remoteAddress?: string | undefined } | undefined;
}

/** Identifies the caller. Rejects with ApiError 401, or 429 after too many wrong tokens from the same address. */
export type Authenticate = (request: RequestOrigin) => Promise<Caller>;

/** The unix socket: whoever can open it may do everything. The modes of the file and its folder are the guard. */
export const trustSocket: Authenticate = async () => ({ owner: LOCAL_USER, admin: true });

/** The TCP listener: `Authorization: Bearer bht_…` of a user. */
export function requireBearer(users: Pick<UserList, 'authenticate'>, failures: FailureLimit): Authenticate {
  return async ({ headers, socket }) => {
    const header = headers.authorization;
    if (header === undefined) {
      throw unauthorized('the Authorization header is missing; send "Authorization: Bearer bht_..."', 'Bearer');
    }
    const given = /^Bearer +(\S+) *$/i.exec(header)?.[1];
    const user = given === undefined ? null : await users.authenticate(given);
    if (user !== null) return { owner: user.name, admin: user.role === 'admin' };
    await failures.count(socket?.remoteAddress);
    throw unauthorized(
      'the token is not valid; an admin makes one with "bhatti user create", that of this machine is printed by "bhatti serve status"',
      'Bearer error="invalid_token"',
    );
  };
}

function unauthorized(message: string, challenge: string): ApiError {
  return new ApiError(401, 'unauthorized', message, { headers: { 'WWW-Authenticate': challenge } });
}
