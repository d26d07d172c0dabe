import { randomBytes } from 'node:crypto';

const acceptable = /^[A-Za-z0-9._-]{1,64}$/;

/** The caller's own X-Request-Id when it is harmless in a log, else a new one: `req_` and 16 hex digits. */
export function requestId(header: string | string[] | undefined): string {
  if (typeof header === 'string' && acceptable.test(header)) return header;
  return `req_${randomBytes(8).toString('hex')}`;
}
