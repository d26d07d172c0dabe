import { Authenticator, type Identity } from '../authentication/authenticator.ts';
import { parseChallenges } from '../authentication/challenge.ts';
import type { Credentials } from '../authentication/credentials.ts';
import type { Redaction } from '../authentication/redaction.ts';
import type { Purpose } from '../connection/connections.ts';
import type { Receiver, ResponseHead } from '../connection/exchange.ts';
import { registryHost } from '../connection/host.ts';
import type { Authorization, Http, HttpAnswer } from '../connection/http.ts';
import type { Reference } from '../image/reference.ts';
import type { RegistryOrigins } from './registry-origin.ts';

/** The server's own credentials for an image, if it has any. Called only when a registry asks for authentication. */
export type CredentialSource = (reference: Reference) => Promise<Credentials | undefined>;

export interface RegistryRequest {
  /** Default: GET. */
  readonly method?: 'GET' | 'HEAD';
  readonly reference: Reference;
  /** Path below the repository: `manifests/latest`, `blobs/sha256:…`. */
  readonly path: string;
  readonly purpose: Purpose;
  readonly headers: Readonly<Record<string, string>>;
  /** For this pull only; the server's own are used when undefined. */
  readonly credentials: Credentials | undefined;
  readonly signal: AbortSignal | undefined;
  /** Is told the secrets that are sent. */
  readonly redaction?: Redaction;
  readonly receive: (head: ResponseHead) => Receiver;
}

export interface RegistryAnswer extends HttpAnswer {
  /** Whether it refuses credentials, or a token got with some. */
  readonly isLoginRefused: boolean;
}

/** Requests to the API of the distribution spec, authenticated as the registry demands. */
export class RegistryApi {
  readonly #http: Http;
  readonly #origins: RegistryOrigins;
  readonly #authenticator: Authenticator;
  readonly #credentialSource: CredentialSource | undefined;

  constructor(http: Http, origins: RegistryOrigins, credentialSource: CredentialSource | undefined) {
    this.#http = http;
    this.#origins = origins;
    this.#authenticator = new Authenticator(http);
    this.#credentialSource = credentialSource;
  }

  /** The response, whatever its status, after redirects are followed and a challenge is answered. @throws OciError */
  async send(request: RegistryRequest): Promise<RegistryAnswer> {
    const { method, reference, path, purpose, headers, signal, receive, redaction } = request;
    const registry = await this.#origins.of(registryHost(reference), signal);
    const access = { registry, repository: reference.path, identity: this.#identity(request), signal };
    const url = new URL(`/v2/${reference.path}/${path}`, registry);
    const send = async (authorization: Authorization | undefined): Promise<RegistryAnswer> => {
      redaction?.authorization(authorization);
      const answer = await this.#http.send({ method, url, purpose, headers, authorization, signal, receive });
      return { ...answer, isLoginRefused: isChallenge(answer) && authorization?.isSecret === true };
    };

    const known = await this.#authenticator.known(access);
    const answer = await send(known);
    if (!isChallenge(answer)) return answer;
    const challenges = parseChallenges(answer.head.headers.get('www-authenticate') ?? '');
    const authorization = await this.#authenticator.answer(challenges, access, known);
    return authorization === undefined ? answer : send(authorization);
  }

  #identity({ reference, credentials, redaction }: RegistryRequest): Identity {
    redaction?.credentials(credentials);
    if (credentials !== undefined) return { kind: 'user', credentials };
    const source = this.#credentialSource;
    if (source === undefined) return { kind: 'anonymous' };
    const look = async (): Promise<Credentials | undefined> => {
      const found = await source(reference);
      redaction?.credentials(found);
      return found;
    };
    return { kind: 'server', credentials: look };
  }
}

/** Whether the registry itself asks for authentication; a host that a redirect led to is never sent credentials. */
function isChallenge({ head, hasLeftHost }: HttpAnswer): boolean {
  return head.status === 401 && !hasLeftHost;
}
