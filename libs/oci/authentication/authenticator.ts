import { createHmac, randomBytes } from 'node:crypto';
import * as z from 'zod';
import { orCancelled } from '../cancellation.ts';
import { collector } from '../connection/exchange.ts';
import { mayCarrySecret } from '../connection/host.ts';
import { type Authorization, assertSecretMayGo, type Http, type HttpRequest } from '../connection/http.ts';
import { OciError } from '../error.ts';
import { registryError } from '../registry/registry-error.ts';
import type { Challenge } from './challenge.ts';
import { basicAuthorization, type Credentials } from './credentials.ts';
import { Redaction } from './redaction.ts';

/** Who asks: nobody in particular, a user with credentials, or the server, whose own are looked up only when they are needed. */
export type Identity =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'user'; readonly credentials: Credentials }
  | { readonly kind: 'server'; readonly credentials: () => Promise<Credentials | undefined> };

/** Who wants to read what. */
export interface Access {
  /** The registry's origin. */
  readonly registry: URL;
  readonly repository: string;
  readonly identity: Identity;
  readonly signal: AbortSignal | undefined;
}

const TOKEN_SIZE_LIMIT = 1024 * 1024;
/** Lifetime of a token without `expires_in`, by the token spec. */
const DEFAULT_LIFETIME_S = 60;
/** A token is renewed this long before it expires, so that it does not expire on its way. */
const EXPIRY_MARGIN_MS = 10_000;

/** Distribution project, "Token Authentication Specification"; `access_token` is OAuth's name for the same. */
const tokenSchema = z
  .object({
    token: z.string().nullish(),
    access_token: z.string().nullish(),
    // A few servers send the number as a string.
    expires_in: z.coerce.number().nullish().catch(undefined),
  })
  .transform(({ token, access_token, expires_in }) => ({
    token: token || access_token || '',
    lifetimeMs: (expires_in ?? DEFAULT_LIFETIME_S) * 1000,
  }));

interface CachedToken {
  readonly authorization: Authorization;
  readonly expiresAt: number;
}

/**
 * Answers a registry's challenges: Basic with the credentials, Bearer with a token from the realm that the challenge names.
 * Tokens are cached by registry, repository and identity until shortly before they expire. Credentials are never kept: the cache's
 * keys hold a keyed hash of them.
 */
export class Authenticator {
  readonly #http: Pick<Http, 'send'>;
  readonly #tokens = new Map<string, CachedToken>();
  readonly #pending = new Map<string, Promise<CachedToken>>();
  /** Origins that asked for Basic: further requests carry it without being refused first. */
  readonly #basicOrigins = new Set<string>();
  readonly #hashKey = randomBytes(32);
  readonly #now: () => number;

  constructor(http: Pick<Http, 'send'>, now: () => number = () => performance.now()) {
    this.#http = http;
    this.#now = now;
  }

  /**
   * The `Authorization` that will probably be accepted, from what is known so far; undefined to try without one.
   *
   * @throws OciError `cancelled`
   */
  async known(access: Access): Promise<Authorization | undefined> {
    const token = this.#tokens.get(this.#key(access));
    if (token !== undefined && token.expiresAt > this.#now()) return token.authorization;
    const { identity, registry, signal } = access;
    if (!this.#basicOrigins.has(registry.origin) || !mayCarrySecret(registry)) return undefined;
    return basic(await orCancelled(credentialsOf(identity), signal));
  }

  /**
   * The `Authorization` that answers a 401's challenges; undefined when there is none, or none other than the one refused.
   *
   * @param refused what was sent and refused
   * @throws OciError `unauthorized` when the realm refuses, or when answering would send a secret in the clear
   */
  async answer(
    challenges: readonly Challenge[],
    access: Access,
    refused: Authorization | undefined,
  ): Promise<Authorization | undefined> {
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm'));
    const isBasic = challenges.some(({ scheme }) => scheme === 'basic');
    if (bearer !== undefined) {
      const { authorization } = await orCancelled(this.#token(bearer, access, refused?.value), access.signal);
      return authorization;
    }
    if (!isBasic) return undefined;
    this.#basicOrigins.add(access.registry.origin);
    const authorization = basic(await orCancelled(credentialsOf(access.identity), access.signal));
    if (authorization !== undefined) assertSecretMayGo(access.registry);
    return authorization?.value === refused?.value ? undefined : authorization;
  }

  async #token(challenge: Challenge, access: Access, refused: string | undefined): Promise<CachedToken> {
    const key = this.#key(access);
    const cached = this.#tokens.get(key);
    // Layers are fetched in parallel: another request may have renewed the token meanwhile.
    if (cached !== undefined && cached.authorization.value !== refused && cached.expiresAt > this.#now()) return cached;
    return this.#pending.get(key) ?? this.#startFetch(key, challenge, access);
  }

  #startFetch(key: string, challenge: Challenge, access: Access): Promise<CachedToken> {
    const fetching = this.#fetchToken(challenge, access)
      .then((token) => {
        for (const [known, { expiresAt }] of this.#tokens) if (expiresAt <= this.#now()) this.#tokens.delete(known);
        this.#tokens.set(key, token);
        return token;
      })
      .finally(() => this.#pending.delete(key));
    this.#pending.set(key, fetching);
    return fetching;
  }

  /** Redacts errors here, since other pulls may wait for the same token, and do not know which credentials this one sent. */
  async #fetchToken(challenge: Challenge, access: Access): Promise<CachedToken> {
    const credentials = await credentialsOf(access.identity);
    const redaction = new Redaction();
    redaction.credentials(credentials);
    redaction.authorization(basic(credentials));
    try {
      return await this.#fetchTokenWith(credentials, challenge, access);
    } catch (error) {
      throw redaction.redacted(error);
    }
  }

  async #fetchTokenWith(
    credentials: Credentials | undefined,
    challenge: Challenge,
    access: Access,
  ): Promise<CachedToken> {
    // The token will be sent to the registry: if that cannot be done securely, do not even ask for one.
    if (credentials !== undefined) assertSecretMayGo(access.registry);
    const requestedAt = this.#now();
    const answer = collector(TOKEN_SIZE_LIMIT, () => new OciError('registry_error', 'the token server sent too much'));
    const request = tokenRequest(challenge, access, credentials);
    // Without the pull's signal: other pulls may wait for the same token. The deadline for metadata applies.
    const { head, url, errorBody } = await this.#http.send({
      ...request,
      purpose: 'metadata',
      receive: () => answer.receive,
    });
    const what = `a token for ${access.registry.host}/${access.repository}`;
    if (head.status !== 200) {
      const kind = credentials === undefined ? 'anonymous-token' : 'token';
      throw registryError({ head, body: errorBody, url, kind, what });
    }
    const { token, lifetimeMs } = parseToken(answer.bytes(), url);
    return {
      authorization: { value: `Bearer ${token}`, isSecret: credentials !== undefined },
      expiresAt: requestedAt + Math.max(lifetimeMs - EXPIRY_MARGIN_MS, lifetimeMs / 2),
    };
  }

  #key({ registry, repository, identity }: Access): string {
    const who =
      identity.kind === 'user'
        ? createHmac('sha256', this.#hashKey).update(JSON.stringify(identity.credentials)).digest('hex')
        : identity.kind;
    return `${registry.origin} ${repository} ${who}`;
  }
}

function tokenRequest(
  { parameters }: Challenge,
  { registry, repository }: Access,
  credentials: Credentials | undefined,
): Pick<HttpRequest, 'url' | 'method' | 'headers' | 'authorization' | 'body'> {
  const realm = parameters.get('realm') ?? '';
  if (!URL.canParse(realm)) {
    throw new OciError('registry_error', `${registry.host} names a token server whose URL is invalid`, {
      host: registry.host,
    });
  }
  const url = new URL(realm);
  url.username = '';
  url.password = '';
  // Behind a proxy that terminates TLS, a registry may not know its own scheme. Where it is reached by TLS, so is its token server.
  if (url.protocol === 'http:' && registry.protocol === 'https:' && isSameServer(url, registry))
    url.protocol = 'https:';
  const service = parameters.get('service');
  const scope = parameters.get('scope') || `repository:${repository}:pull`;
  if (credentials !== undefined) assertSecretMayGo(url);

  if (credentials !== undefined && 'token' in credentials) {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: 'bhatti',
      refresh_token: credentials.token,
      scope,
    });
    if (service !== undefined) form.set('service', service);
    return {
      url,
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: form.toString(),
    };
  }
  if (service !== undefined) url.searchParams.set('service', service);
  // A challenge separates scopes with spaces; a request has a parameter for each.
  url.searchParams.delete('scope');
  for (const each of scope.split(' ')) url.searchParams.append('scope', each);
  if (credentials === undefined) return { url };
  url.searchParams.set('account', credentials.username);
  return { url, authorization: basic(credentials) };
}

/** Such a registry may also name the port that it is reached at: `http://registry.example:443/token`. */
function isSameServer(realm: URL, registry: URL): boolean {
  return (
    realm.hostname === registry.hostname && (realm.port === registry.port || realm.port === (registry.port || '443'))
  );
}

function parseToken(body: Buffer, url: URL): { token: string; lifetimeMs: number } {
  const details = { host: url.host, path: url.pathname };
  try {
    const parsed = tokenSchema.parse(JSON.parse(body.toString('utf8')));
    // It becomes a header, in which other characters would break the request, or worse.
    if (/^[\x21-\x7e]+$/.test(parsed.token)) return parsed;
  } catch (cause) {
    throw new OciError('registry_error', `the token server ${url.host} sent no token`, { ...details, cause });
  }
  throw new OciError('registry_error', `the token server ${url.host} sent no token`, details);
}

async function credentialsOf(identity: Identity): Promise<Credentials | undefined> {
  if (identity.kind === 'anonymous') return undefined;
  return identity.kind === 'user' ? identity.credentials : identity.credentials();
}

/** Undefined without a name and password: an identity token is only valid at a token server. */
function basic(credentials: Credentials | undefined): Authorization | undefined {
  if (credentials === undefined || !('username' in credentials)) return undefined;
  return { value: basicAuthorization(credentials.username, credentials.password), isSecret: true };
}
