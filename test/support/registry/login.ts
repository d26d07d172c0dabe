import { randomBytes } from 'node:crypto';
import { type Answer, json, refusal } from './answer.ts';

export type RegistryAuth =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  /** Without a name, tokens are given to anyone. The realm is this registry's own `/token` unless another is named. */
  | {
      readonly kind: 'bearer';
      readonly username?: string;
      readonly password?: string;
      readonly tokenSeconds?: number;
      readonly realm?: string;
    };

const SERVICE = 'test-registry';

interface LoginRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

/** Who is let into a registry, and the token server that lets them. */
export class RegistryLogin {
  readonly #auth: RegistryAuth;
  readonly #origin: string;
  /** When each ends, ms since the epoch. */
  readonly #tokens = new Map<string, number>();

  /** @param origin the registry's own, as in `http://127.0.0.1:5000` */
  constructor(auth: RegistryAuth, origin: string) {
    this.#auth = auth;
    this.#origin = origin;
  }

  expireTokens(): void {
    this.#tokens.clear();
  }

  /** The challenge, or undefined for a request that is let in. */
  challenge({ path, authorization }: LoginRequest): Answer | undefined {
    const auth = this.#auth;
    if (auth.kind === 'none') return undefined;
    const isIn =
      auth.kind === 'basic'
        ? authorization === basic(auth.username, auth.password)
        : this.#hasToken(authorization, path);
    if (isIn) return undefined;
    const repository = repositoryOf(path);
    const scope = repository === undefined ? '' : `,scope="repository:${repository}:pull"`;
    const challenge =
      auth.kind === 'basic'
        ? 'Basic realm="test registry"'
        : `Bearer realm="${auth.realm ?? `${this.#origin}/token`}",service="${SERVICE}"${scope}`;
    const answer = refusal(401, 'UNAUTHORIZED', 'authentication required');
    return { ...answer, headers: { ...answer.headers, 'www-authenticate': challenge } };
  }

  #hasToken(authorization: string | undefined, path: string): boolean {
    const given = /^Bearer (.+)$/.exec(authorization ?? '')?.[1];
    if (given === undefined || (this.#tokens.get(given) ?? 0) <= Date.now()) return false;
    const scope = Buffer.from(given.split('.')[0] ?? '', 'base64url').toString('utf8');
    return path === '/v2/' || scope === `repository:${repositoryOf(path) ?? ''}:pull`;
  }

  /** `GET` with Basic, or `POST` with `grant_type=refresh_token`, where the password is the refresh token. */
  tokenAnswer({ method, authorization, body }: LoginRequest, query: URLSearchParams): Answer {
    const auth = this.#auth;
    if (auth.kind !== 'bearer') return refusal(404, 'NOT_FOUND', 'no token server');
    const form = new URLSearchParams(body);
    const isIn =
      auth.username === undefined ||
      (method === 'POST'
        ? form.get('grant_type') === 'refresh_token' && form.get('refresh_token') === auth.password
        : authorization === basic(auth.username, auth.password ?? ''));
    if (!isIn) return refusal(401, 'UNAUTHORIZED', 'incorrect username or password');
    const parameters = method === 'POST' ? form : query;
    if (parameters.get('service') !== SERVICE) return refusal(400, 'UNSUPPORTED', 'wrong service');
    const seconds = auth.tokenSeconds ?? 300;
    const value = `${Buffer.from(parameters.get('scope') ?? '').toString('base64url')}.${randomBytes(12).toString('hex')}`;
    this.#tokens.set(value, Date.now() + seconds * 1000);
    const name = method === 'POST' ? 'access_token' : 'token';
    return json(200, { [name]: value, expires_in: seconds, issued_at: new Date().toISOString() });
  }
}

function repositoryOf(path: string): string | undefined {
  return /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(path)?.[1];
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
