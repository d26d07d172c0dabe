import { randomUUID } from 'node:crypto';

const acceptable = /^[A-Za-z0-9._-]{1,64}$/;

/** The caller's own X-Request-Id when it is harmless in a log, else a new one: `req_` and 16 hex digits. */
export function requestId(header: string | string[] | undefined): string {
  if (typeof header === 'string' && acceptable.test(header)) return header;
  // Node makes UUIDs 128 at a time, a tenth of the time that random bytes take. 60 of these 64 bits are random.
  return `req_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
}
