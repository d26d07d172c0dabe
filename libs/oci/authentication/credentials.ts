import { OciError } from '../error.ts';

/** What a pull authenticates with at a registry, or at its token server. */
export type Credentials =
  | { readonly username: string; readonly password: string }
  /** An identity (refresh) token, exchanged at the token server (`grant_type=refresh_token`). */
  | { readonly token: string };

/**
 * Parses the value of `--auth user:token`. The name ends at the first colon; the token may contain more of them.
 *
 * @throws OciError `invalid_request`; the message does not repeat the value
 */
export function parseAuthFlag(text: string): Credentials {
  const colon = text.indexOf(':');
  const username = text.slice(0, colon);
  const password = text.slice(colon + 1);
  if (colon < 1 || password === '') {
    throw new OciError('invalid_request', 'invalid credentials: write them as user:token');
  }
  if (/[\0\r\n]/.test(text)) {
    throw new OciError('invalid_request', 'invalid credentials: they contain a line break or a zero byte');
  }
  return { username, password };
}

/** `Authorization` header of HTTP Basic (RFC 7617), in UTF-8. */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
