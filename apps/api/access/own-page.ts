import type { RequestHandler } from 'express';
import { ApiError } from '../request/errors.ts';
import type { RequestOrigin } from './authentication.ts';

/**
 * False for a request from a web page of another site. Browsers name the site: in Sec-Fetch-Site on trustworthy addresses,
 * in Origin elsewhere. Tools send neither.
 */
export function isOwnPage({ headers }: RequestOrigin): boolean {
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
 * For a listener that trusts everybody who reaches it: tunnelled to a local port, every web page in that user's browser
 * reaches it, too. Such pages cannot read answers, but could delete images without this.
 */
export const refuseOtherSites: RequestHandler = (request, _response, next) => {
  if (safeMethods.has(request.method) || isOwnPage(request)) next();
  else next(new ApiError(403, 'forbidden', otherSite));
};
