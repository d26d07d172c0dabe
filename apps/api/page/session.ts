import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import * as z from 'zod';
import type { Authenticate, Caller, RequestOrigin } from '../access/authentication.ts';
import { isOwnPage } from '../access/own-page.ts';
import { ApiError } from '../request/errors.ts';

const cookieName = 'bhatti_session';

/** A working day; then the token is asked for again. */
const lifetimeSeconds = 12 * 3600;

const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;

const session = z.object({ token: z.string(), expires: z.number() });

/**
 * Browser sessions. The cookie holds the token itself, sealed (AES-256-GCM) with a key derived from the secret key: the
 * server keeps nothing, every API process accepts it, and revoking a token ends its sessions at once.
 */
export class Sessions {
  readonly #key: Buffer;

  constructor(secretKey: KeyObject) {
    this.#key = Buffer.from(hkdfSync('sha256', secretKey, '', 'bhatti page session v1', 32));
  }

  /** The `Set-Cookie` that logs in. */
  begin(token: string, request: RequestOrigin): string {
    const text = JSON.stringify({ token, expires: Date.now() + lifetimeSeconds * 1000 });
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv(algorithm, this.#key, nonce);
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    const value = Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64url');
    return cookie(value, lifetimeSeconds, request);
  }

  /** The `Set-Cookie` that logs out. */
  end(request: RequestOrigin): string {
    return cookie('', 0, request);
  }

  /** The caller: by the session where there is one and no Authorization header, else as the listener does. Rejects with ApiError 401. */
  async callerOf(request: RequestOrigin, authenticate: Authenticate): Promise<Caller> {
    const token = request.headers.authorization === undefined ? this.#tokenOf(request) : undefined;
    if (token === undefined) return authenticate(request);
    return authenticate({ socket: request.socket, headers: { ...request.headers, authorization: `Bearer ${token}` } });
  }

  /** Whether there is something to log out of. */
  isOpen(request: RequestOrigin): boolean {
    return cookieOf(request) !== undefined;
  }

  /** What a form must send along to be accepted: no other site can know it. */
  formToken(request: RequestOrigin): string {
    return createHmac('sha256', this.#key)
      .update(cookieOf(request) ?? '')
      .digest('base64url');
  }

  /** Throws ApiError 403 unless the request was made by a page of this server. */
  requireOwnPage(request: RequestOrigin): void {
    if (isOwnPage(request)) return;
    throw new ApiError(403, 'forbidden', 'this was asked for by a page of another site; open this page itself');
  }

  /** Throws ApiError 403 unless the form is one that this session was given. */
  requireOwnForm(request: RequestOrigin, formToken: unknown): void {
    this.requireOwnPage(request);
    const expected = Buffer.from(this.formToken(request));
    const given = Buffer.from(typeof formToken === 'string' ? formToken : '');
    if (given.length === expected.length && timingSafeEqual(given, expected)) return;
    throw new ApiError(403, 'forbidden', 'the form is of an older session; go back, load the page again and repeat');
  }

  #tokenOf(request: RequestOrigin): string | undefined {
    const value = cookieOf(request);
    if (value === undefined) return undefined;
    try {
      const bytes = Buffer.from(value, 'base64url');
      const decipher = createDecipheriv(algorithm, this.#key, bytes.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      });
      decipher.setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes));
      const text = Buffer.concat([decipher.update(bytes.subarray(nonceBytes + tagBytes)), decipher.final()]);
      const { token, expires } = session.parse(JSON.parse(text.toString('utf8')));
      return expires > Date.now() ? token : undefined;
    } catch {
      // Cut, changed, or of another secret key: as good as none.
      return undefined;
    }
  }
}

function cookieOf({ headers }: RequestOrigin): string | undefined {
  return new RegExp(`(?:^|;\\s*)${cookieName}=([A-Za-z0-9_-]+)`).exec(headers.cookie ?? '')?.[1];
}

function cookie(value: string, seconds: number, { headers }: RequestOrigin): string {
  // Behind a proxy that speaks TLS the cookie never goes over anything else.
  const secure = headers['x-forwarded-proto'] === 'https' ? '; Secure' : '';
  return `${cookieName}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${seconds}${secure}`;
}
