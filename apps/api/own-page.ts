import type { RequestHandler } from 'express';
import type { Asking } from './authentication.ts';
import { ApiError } from './errors.ts';

/**
 * Whether no page of another site sent the request. Browsers say from where one comes: by Sec-Fetch-Site on trustworthy
 * addresses, by Origin elsewhere. Tools say nothing.
 */
export function isOwnPage({ headers }: Asking): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin' || site === 'none';
  const { origin, host } = headers;
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === host);
}

/** Methods that change nothing (RFC 9110, section 9.2.1). */
const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

const otherSite =
  'a web page of another site sent this request (Origin, Sec-Fetch-Site), and the unix socket asks for no token: use the page of this server, or a tool such as curl';

/**
 * For a listener that trusts everybody who reaches it: somebody who tunnels it to a port of their machine lets every web
 * page in their browser reach it, too. Pages elsewhere cannot read answers, but could delete images without this.
 */
export const refuseOtherSites: RequestHandler = (request, _response, next) => {
  if (safeMethods.has(request.method) || isOwnPage(request)) next();
  else next(new ApiError(403, 'forbidden', otherSite));
};
