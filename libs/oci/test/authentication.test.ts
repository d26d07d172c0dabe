import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import type { PushedImage, RegistryAuth, TestRegistry } from '../../../test/support/registry.ts';
import { type Access, Authenticator } from '../authentication/authenticator.ts';
import { parseChallenges } from '../authentication/challenge.ts';
import { Redaction } from '../authentication/redaction.ts';
import { mayCarrySecret } from '../connection/host.ts';
import {
  type Credentials,
  OciError,
  parseAuthFlag,
  parseReference,
  type Reference,
  type RegistryClient,
  type RegistryClientOptions,
} from '../index.ts';
import { makeCertificates } from './support/certificate.ts';
import { failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();
const ALICE = { username: 'alice', password: 's3cret-pass' };
const BASIC = `Basic ${Buffer.from('alice:s3cret-pass').toString('base64')}`;
const REPOSITORY = 'team/app';

interface Scene {
  readonly registry: TestRegistry;
  readonly client: RegistryClient;
  readonly image: PushedImage;
  readonly reference: Reference;
  /** Fetches all layers side by side. */
  layers(credentials?: Credentials): Promise<void>;
  tokenRequests(): number;
}

async function scene(auth: RegistryAuth, options: RegistryClientOptions = {}): Promise<Scene> {
  const registry = await fixture.registry({ auth });
  const client = fixture.client(options);
  const directory = await fixture.directory();
  const layers = Array.from({ length: 4 }, () => ({ tar: random(50_000) }));
  const image = registry.pushImage({ repository: REPOSITORY, layers });
  const reference = parseReference(image.reference);
  let run = 0;
  return {
    registry,
    client,
    image,
    reference,
    layers: async (credentials) => {
      run += 1;
      await Promise.all(
        image.layers.map((layer, position) =>
          client.download(reference, layer, join(directory, `${run}-${position}`), { credentials }),
        ),
      );
    },
    tokenRequests: () => registry.requests.filter(({ path }) => path === '/token').length,
  };
}

describe('Bearer', () => {
  test('a token for anyone: asked for once, and used for everything', async () => {
    const { client, reference, registry, layers, tokenRequests } = await scene({ kind: 'bearer' });
    await client.resolve(reference);
    await layers();
    expect(tokenRequests()).toBe(1);
    expect(registry.requests[1]).toMatchObject({ path: '/token', method: 'GET', authorization: undefined });
    expect(registry.requests[1]?.query).toBe('?service=test-registry&scope=repository%3Ateam%2Fapp%3Apull');
    expect(registry.requests.filter(({ status }) => status === 401)).toHaveLength(1);
  });

  test('with a name and a password, which the token server alone is shown', async () => {
    const { client, reference, registry } = await scene({ kind: 'bearer', ...ALICE });
    await client.resolve(reference, { credentials: ALICE });
    const shown = registry.requests.map(({ path, authorization }) => [path, authorization?.split(' ')[0]]);
    expect(shown).toEqual([
      ['/v2/team/app/manifests/latest', undefined],
      ['/token', 'Basic'],
      ['/v2/team/app/manifests/latest', 'Bearer'],
      [expect.stringContaining('/v2/team/app/blobs/'), 'Bearer'],
    ]);
    expect(registry.requests[1]).toMatchObject({ authorization: BASIC });
    expect(registry.requests[1]?.query).toContain('account=alice');
  });

  test('with an identity token, in the form of OAuth', async () => {
    const { client, reference, registry } = await scene({ kind: 'bearer', ...ALICE });
    await client.resolve(reference, { credentials: { token: ALICE.password } });
    const asked = registry.requests[1];
    expect(asked).toMatchObject({ path: '/token', method: 'POST', query: '', authorization: undefined });
    expect(Object.fromEntries(new URLSearchParams(asked?.body))).toMatchObject({
      grant_type: 'refresh_token',
      refresh_token: ALICE.password,
      service: 'test-registry',
      scope: 'repository:team/app:pull',
    });
  });

  test('a token that is refused before its time is replaced, once for all downloads that use it', async () => {
    const { layers, registry, tokenRequests } = await scene({ kind: 'bearer' });
    await layers();
    registry.expireTokens();
    await layers();
    expect(tokenRequests()).toBe(2);
  });

  test('each repository and each identity has its own', async () => {
    const { client, registry, reference, tokenRequests } = await scene({ kind: 'bearer' });
    const other = registry.pushImage({ repository: 'team/other', layers: [] });
    await client.resolve(reference);
    await client.resolve(parseReference(other.reference));
    await client.resolve(reference, { credentials: ALICE });
    await client.resolve(reference, { credentials: { ...ALICE, password: 'another' } });
    expect(tokenRequests()).toBe(4);
    await client.resolve(reference, { credentials: { ...ALICE } });
    await client.resolve(reference);
    expect(tokenRequests()).toBe(4);
  });

  test('several scopes in one challenge', async () => {
    const { client, reference, registry } = await scene({ kind: 'bearer' });
    const scopes = 'repository:team/app:pull repository:team/base:pull';
    const challenge = `Bearer realm="${registry.url}/token?tenant=1",service="test-registry",scope="${scopes}"`;
    registry.plan({ path: '/v2/', status: 401, headers: { 'www-authenticate': challenge }, times: 1 });
    await client.resolve(reference).catch(() => undefined);
    const asked = new URLSearchParams(registry.requests[1]?.query);
    expect(asked.get('tenant')).toBe('1');
    expect(asked.getAll('scope')).toEqual(scopes.split(' '));
  });

  test('a wrong password', async () => {
    const { client, reference, registry } = await scene({ kind: 'bearer', ...ALICE });
    const error = await failure(client.resolve(reference, { credentials: { ...ALICE, password: 'wr0ng' } }));
    expect(error).toMatchObject({ code: 'unauthorized', status: 401, registryCode: 'UNAUTHORIZED', path: '/token' });
    expect(error.message).toBe(
      `${registry.host} refused access to a token for ${registry.host}/team/app: UNAUTHORIZED: incorrect username or password (status 401). Check the credentials`,
    );
  });

  test('a private image without credentials', async () => {
    const { client, reference } = await scene({ kind: 'bearer', ...ALICE });
    const error = await failure(client.resolve(reference));
    expect(error).toMatchObject({ code: 'unauthorized', retryable: false });
    expect(error.message).toContain('The image may not exist, or may require authentication');
  });

  test('a token that opens nothing is not asked for again and again', async () => {
    const { client, reference, registry, tokenRequests } = await scene({ kind: 'bearer' });
    registry.plan({
      path: '/v2/',
      status: 401,
      headers: { 'www-authenticate': `Bearer realm="${registry.url}/token",service="test-registry"` },
    });
    expect(await failure(client.resolve(reference))).toMatchObject({ code: 'unauthorized', status: 401 });
    expect(tokenRequests()).toBe(1);
    expect(registry.requests).toHaveLength(3);
  });

  test('a token server that is out of order for a moment', async () => {
    const { client, reference, registry, tokenRequests } = await scene({ kind: 'bearer' });
    registry.plan({ path: '/token', status: 503, times: 2 });
    await client.resolve(reference);
    expect(tokenRequests()).toBe(3);
  });

  test.each([
    ['HTML', '<html>'],
    ['no token', '{}'],
    ['a line break in it', JSON.stringify({ token: 'a\r\nx-evil: 1' })],
    ['an object', JSON.stringify({ token: {} })],
  ])('a token server that sends %s', async (_, body) => {
    const { client, reference, registry } = await scene({ kind: 'bearer' });
    registry.plan({ path: '/token', body });
    expect(await failure(client.resolve(reference))).toMatchObject({ code: 'registry_error', path: '/token' });
  });

  test.each<[string, readonly string[], string, string]>([
    ['a scheme in lower case', ['bearer realm="{realm}",service=s'], '?service=s&scope={scope}', '"token":"T"'],
    ['several challenges', ['Negotiate', 'Basic realm="x"', 'Bearer realm="{realm}"'], '?scope={scope}', '"token":"T"'],
    [
      'several in one field',
      ['Negotiate abc==, BEARER realm="{realm}", Basic realm=x'],
      '?scope={scope}',
      '"token":"T"',
    ],
    ['a realm with a query', ['Bearer realm="{realm}?a=b%20c",scope=""'], '?a=b+c&scope={scope}', '"token":"T"'],
    ['access_token alone', ['Bearer realm="{realm}"'], '?scope={scope}', '"access_token":"T"'],
    ['an empty token beside it', ['Bearer realm="{realm}"'], '?scope={scope}', '"token":"","access_token":"T"'],
    ['times as texts', ['Bearer realm="{realm}"'], '?scope={scope}', '"token":"T","expires_in":"300","issued_at":""'],
    ['times that are none', ['Bearer realm="{realm}"'], '?scope={scope}', '"token":"T","expires_in":"soon"'],
    ['a token that has ended', ['Bearer realm="{realm}"'], '?scope={scope}', '"token":"T","expires_in":-5'],
    ['null for what it does not have', ['Bearer realm="{realm}"'], '?scope={scope}', '"token":"T","expires_in":null'],
  ])('registries and token servers with %s', async (_, challenges, query, answer) => {
    const { client, reference, registry } = await scene({ kind: 'none' });
    const asked = challenges.map((challenge) => challenge.replace('{realm}', `${registry.url}/token`));
    registry.plan({ path: '/manifests/', status: 401, headers: { 'www-authenticate': asked }, times: 1 });
    registry.plan({ path: '/token', as: 200, body: `{${answer}}`, headers: { 'content-type': 'text/plain' } });
    await client.resolve(reference);
    const [, token, manifest] = registry.requests;
    expect(`${token?.path}${token?.query}`).toBe(
      `/token${query.replace('{scope}', encodeURIComponent(`repository:${REPOSITORY}:pull`))}`,
    );
    expect(manifest?.authorization).toBe('Bearer T');
  });

  test('a registry that does not know it has TLS: its realm is asked as it is, encrypted', async () => {
    const directory = await fixture.directory();
    const { key, cert, authority } = await makeCertificates(directory);
    const registry = await fixture.registry({ auth: { kind: 'bearer', ...ALICE }, tls: { key, cert } });
    const challenge = `Bearer realm="http://${registry.host}/token",service="test-registry"`;
    registry.plan({ path: '/manifests/', status: 401, headers: { 'www-authenticate': challenge }, times: 1 });
    const { digest, reference } = registry.pushImage({ repository: REPOSITORY, layers: [] });
    const client = fixture.client({ certificateAuthorities: [authority], retry: { attempts: 1 } });
    const { manifestDigest } = await client.resolve(parseReference(reference), { credentials: ALICE });
    expect(manifestDigest).toBe(digest);
    expect(registry.requests.find(({ path }) => path === '/token')).toMatchObject({
      status: 200,
      authorization: BASIC,
    });
  });

  test.each([
    ['https://registry.example', 'http://registry.example/token', 'https://registry.example/token?'],
    ['https://registry.example', 'http://registry.example:443/token', 'https://registry.example/token?'],
    ['https://registry.example', 'http://registry.example:8080/token', 'http://registry.example:8080/token?'],
    ['https://registry.example:8443', 'http://registry.example:443/token', 'http://registry.example:443/token?'],
  ])('a registry at %s whose realm is %s', async (registry, realm, expected) => {
    const asked: string[] = [];
    const http: ConstructorParameters<typeof Authenticator>[0] = {
      async send({ url }) {
        asked.push(url.href);
        return { head: { status: 503, headers: new Map() }, url, hasLeftHost: false, errorBody: Buffer.alloc(0) };
      },
    };
    const access: Access = {
      registry: new URL(registry),
      repository: REPOSITORY,
      identity: { kind: 'anonymous' },
      signal: undefined,
    };
    await failure(new Authenticator(http).answer(parseChallenges(`Bearer realm="${realm}"`), access, undefined));
    expect(asked).toEqual([expect.stringContaining(expected)]);
  });

  test.each(['not a url', 'file:///etc/passwd', 'http://registry.invalid/token'])(
    'a realm that is %s',
    async (realm) => {
      const { client, reference } = await scene({ kind: 'bearer', realm });
      expect(await failure(client.resolve(reference))).toMatchObject({ code: 'registry_error' });
    },
  );

  test('tokens are used until shortly before they end', async () => {
    const { registry } = await scene({ kind: 'bearer', tokenSeconds: 300 });
    let now = 1_000_000;
    let tokens = 0;
    const http: ConstructorParameters<typeof Authenticator>[0] = {
      async send({ receive }) {
        tokens += 1;
        const head = { status: 200, headers: new Map<string, string>() };
        const flow = { pause: () => undefined, resume: () => undefined };
        receive(head)(Buffer.from(JSON.stringify({ token: `t${tokens}`, expires_in: 300 })), flow);
        return { head, url: new URL(registry.url), hasLeftHost: false, errorBody: Buffer.alloc(0) };
      },
    };
    const authenticator = new Authenticator(http, () => now);
    const access: Access = {
      registry: new URL(registry.url),
      repository: REPOSITORY,
      identity: { kind: 'anonymous' },
      signal: undefined,
    };
    const challenges = parseChallenges('Bearer realm="https://auth.example/token"');
    expect(await authenticator.known(access)).toBeUndefined();
    await authenticator.answer(challenges, access, undefined);
    now += 289_000;
    const first = { value: 'Bearer t1', isSecret: false };
    expect(await authenticator.known(access)).toEqual(first);
    // Another request, which was sent before there was one.
    expect(await authenticator.answer(challenges, access, undefined)).toEqual(first);
    now += 2000;
    expect(await authenticator.known(access)).toBeUndefined();
    const second = { value: 'Bearer t2', isSecret: false };
    expect(await authenticator.answer(challenges, access, undefined)).toEqual(second);
    expect(await authenticator.answer(challenges, access, first)).toEqual(second);
    expect(await authenticator.answer(challenges, access, second)).toEqual({ value: 'Bearer t3', isSecret: false });
  });
});

describe('Basic', () => {
  test('is shown once it is asked for, and then at once', async () => {
    const { client, reference, registry } = await scene({ kind: 'basic', ...ALICE });
    await client.resolve(reference, { credentials: ALICE });
    expect(registry.requests.map(({ status, authorization }) => [status, authorization])).toEqual([
      [401, undefined],
      [200, BASIC],
      [200, BASIC],
    ]);
  });

  test('with a wrong password, or none', async () => {
    const { client, reference, registry } = await scene({ kind: 'basic', ...ALICE });
    for (const credentials of [undefined, { ...ALICE, password: 'wr0ng' }, { token: 'identity' }]) {
      const error = await failure(client.resolve(reference, { credentials }));
      expect(error).toMatchObject({
        code: 'unauthorized',
        status: 401,
        registryCode: 'UNAUTHORIZED',
        host: registry.host,
      });
      expect(error.message).not.toContain('wr0ng');
    }
    expect(registry.requests.length).toBeLessThanOrEqual(5);
  });

  test('with the server’s own credentials, which are looked up only when a registry asks for a login', async () => {
    const asked: string[] = [];
    const credentialSource = async ({ domain }: Reference) => {
      asked.push(domain);
      return ALICE;
    };
    const { client, reference, registry, layers } = await scene({ kind: 'basic', ...ALICE }, { credentialSource });
    await client.resolve(reference);
    await layers();
    expect(new Set(asked)).toEqual(new Set([registry.host]));
    const open = await fixture.registry();
    const count = asked.length;
    await client.resolve(parseReference(open.pushImage({ repository: 'a', layers: [] }).reference));
    expect(asked).toHaveLength(count);
    // Those of one pull come before the server's.
    const wrong = { ...ALICE, password: 'wr0ng' };
    expect(await failure(client.resolve(reference, { credentials: wrong }))).toMatchObject({ code: 'unauthorized' });
  });

  test('a cancelled pull does not wait for the server’s own credentials, of which a helper may never tell', async () => {
    const cancel = new AbortController();
    let hangs = false;
    const credentialSource = async () => {
      if (!hangs) return ALICE;
      setImmediate(() => cancel.abort());
      return new Promise<Credentials>(() => undefined);
    };
    const { client, reference, registry } = await scene({ kind: 'basic', ...ALICE }, { credentialSource });
    await client.resolve(reference);
    hangs = true;
    const requests = registry.requests.length;
    expect(await failure(client.resolve(reference, { signal: cancel.signal }))).toMatchObject({ code: 'cancelled' });
    expect(registry.requests).toHaveLength(requests);
  });
});

describe('credentials stay where they belong', () => {
  test.each<RegistryAuth>([
    { kind: 'basic', ...ALICE },
    { kind: 'bearer', ...ALICE },
  ])('a redirect to another host carries none ($kind)', async (auth) => {
    const { registry, layers, image } = await scene(auth);
    const storage = await fixture.registry({ auth: { kind: 'none' } });
    registry.plan({ path: '/blobs/', after: 1, redirect: `${storage.url}/store{path}` });
    storage.plan({ path: '/store', status: 401, headers: { 'www-authenticate': `Basic realm="give"` } });
    expect(image.layers.length).toBeGreaterThan(0);
    // The storage's own challenge is not answered either.
    expect(await failure(layers(ALICE))).toMatchObject({ status: 401, host: storage.host });
    expect(storage.requests.length).toBeGreaterThan(0);
    expect(storage.requests.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
  });

  test('a token server that redirects is not followed with an identity token, not even to itself', async () => {
    const other = await fixture.registry();
    for (const to of [`${other.url}/stolen`, '/stolen']) {
      const { client, reference, registry } = await scene({ kind: 'bearer', ...ALICE });
      registry.plan({ path: '/token', redirect: to });
      const error = await failure(client.resolve(reference, { credentials: { token: ALICE.password } }));
      expect(error).toMatchObject({ host: registry.host, status: 307 });
      expect([...registry.requests, ...other.requests].filter(({ path }) => path === '/stolen')).toEqual([]);
    }
  });

  test('also when the other host redirects back', async () => {
    const { registry, layers } = await scene({ kind: 'basic', ...ALICE });
    const storage = await fixture.registry();
    registry.plan({ path: /^\/v2\/.*\/blobs\//, redirect: `${storage.url}{path}` });
    storage.plan({ path: '/v2/', redirect: `${registry.url}/back{path}` });
    await failure(layers(ALICE));
    const back = registry.requests.filter(({ path }) => path.startsWith('/back'));
    expect(back.length).toBeGreaterThan(0);
    expect(back.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  test('a redirect within the host keeps them', async () => {
    const { registry, client, reference } = await scene({ kind: 'basic', ...ALICE });
    const moved = { path: '/manifests/latest', redirect: '/v2/team/app/manifests/moved' };
    registry.pushImage({ repository: REPOSITORY, tag: 'moved', layers: [] });
    registry.plan({ ...moved, after: 1 });
    await client.resolve(reference, { credentials: ALICE });
    expect(registry.requests.find(({ path }) => path.endsWith('/moved'))?.authorization).toBe(BASIC);
  });

  test('plain HTTP to another machine carries none, even when it is configured insecure', async () => {
    const { client, reference } = await scene(
      { kind: 'bearer', realm: 'http://auth.invalid/token' },
      { insecureRegistries: ['auth.invalid'] },
    );
    const error = await failure(client.resolve(reference, { credentials: ALICE }));
    expect(error).toMatchObject({ code: 'unauthorized', host: 'auth.invalid' });
    expect(error.message).toContain('not sent to auth.invalid over plain HTTP');
    // Without credentials there is nothing to hide, and the realm is asked.
    expect(await failure(client.resolve(reference))).toMatchObject({ code: 'registry_unreachable' });
  });

  test.each([
    ['https://registry.example/', true],
    ['http://127.0.0.1:5000/', true],
    ['http://127.8.9.1/', true],
    ['http://localhost:5000/', true],
    ['http://[::1]:5000/', true],
    ['http://registry.example/', false],
    ['http://10.0.0.1:5000/', false],
    ['http://127.0.0.1.example/', false],
    ['http://localhost.example/', false],
  ])('%s may carry a secret: %s', (url, expected) => {
    expect(mayCarrySecret(new URL(url))).toBe(expected);
  });

  test.each<RegistryAuth>([
    { kind: 'basic', username: 'alice', password: 'other' },
    { kind: 'bearer', username: 'alice', password: 'other' },
  ])('no error holds them ($kind)', async (auth) => {
    const { client, reference, registry } = await scene(auth);
    registry.plan({
      path: '/token',
      status: 401,
      error: { code: 'DENIED', message: 'see https://x.example/?t=s3cret-query' },
    });
    const error = await failure(client.resolve(reference, { credentials: ALICE }));
    const everything = JSON.stringify({
      ...error,
      message: error.message,
      stack: error.stack,
      cause: String(error.cause),
    });
    for (const secret of [ALICE.password, BASIC, 's3cret-query']) expect(everything).not.toContain(secret);
  });
});

describe('parseAuthFlag', () => {
  test('the name ends at the first colon', () => {
    expect(parseAuthFlag('user:a:b')).toEqual({ username: 'user', password: 'a:b' });
  });

  test.each(['user', ':token', 'user:', '', 'user:to\nken'])('refuses %j without repeating it', (text) => {
    expect(() => parseAuthFlag(text)).toThrow(OciError);
    expect(() => parseAuthFlag(text)).toThrow(/^invalid credentials: /);
  });
});

describe('a server that repeats a secret', () => {
  const BASE64 = BASIC.slice('Basic '.length);
  const SECRETS = [ALICE.password, BASE64, encodeURIComponent(ALICE.password)];
  const say = (message: string) => ({ code: `CODE_${ALICE.password}`, message });

  /** All that a log or a person could be shown of an error. */
  const shown = (error: OciError): string => inspect(error, { depth: 10 });

  function expectNoSecret(error: OciError): void {
    for (const secret of SECRETS) expect(shown(error)).not.toContain(secret.slice(0, 8));
    expect(shown(error)).toContain('[redacted]');
  }

  test.each<[string, RegistryAuth, Parameters<TestRegistry['plan']>[0]]>([
    [
      'the registry, in its message',
      { kind: 'basic', ...ALICE },
      { path: '/v2/team', after: 1, status: 403, error: say(`no ${ALICE.password} ${BASIC}`) },
    ],
    [
      'the registry, in a message that is cut within it',
      { kind: 'basic', ...ALICE },
      { path: '/v2/team', after: 1, status: 403, error: say(`${'x'.repeat(273)}${ALICE.password}`) },
    ],
    [
      'the registry, in a document that is no JSON',
      { kind: 'basic', ...ALICE },
      {
        path: '/v2/team',
        after: 1,
        headers: { 'docker-content-digest': undefined },
        body: `${ALICE.password} ${BASE64}`,
      },
    ],
    [
      'the token server',
      { kind: 'bearer', ...ALICE },
      { path: '/token', status: 401, error: say(`not ${ALICE.password}`) },
    ],
    [
      'a redirect',
      { kind: 'basic', ...ALICE },
      { path: '/v2/team', after: 1, redirect: `http://127.0.0.1:1/${ALICE.password}/${BASE64}` },
    ],
  ])('%s', async (_, auth, fault) => {
    const { client, reference, registry } = await scene(auth);
    registry.plan(fault);
    expectNoSecret(await failure(client.resolve(reference, { credentials: ALICE })));
  });

  test('in a notice of a retry, and in the path of a realm', async () => {
    const notices: OciError[] = [];
    const { client, image, reference, registry } = await scene(
      { kind: 'basic', ...ALICE },
      { onRetry: ({ error }) => notices.push(error) },
    );
    registry.plan({ path: '/blobs/', after: 1, status: 503, error: say(ALICE.password) });
    const [layer] = image.layers;
    if (layer === undefined) throw new Error('the image has no layers');
    const path = join(await fixture.directory(), 'layer');
    const error = await failure(client.download(reference, layer, path, { credentials: ALICE }));
    expect(notices.length).toBeGreaterThan(0);
    for (const each of [...notices, error]) expectNoSecret(each);

    const realm = `${registry.url}/${ALICE.password}`;
    registry.plan({ path: '/v2/', status: 401, headers: { 'www-authenticate': `Bearer realm="${realm}"` } });
    expectNoSecret(await failure(client.resolve(reference, { credentials: ALICE })));
  });

  const PASSWORD = 'S3cret  "wörd"/%';
  test.each([
    ['as it is', PASSWORD],
    ['in the query of a URL', 'S3cret%20%20%22w%C3%B6rd%22%2F%25'],
    ['in the path of a URL', 'S3cret%20%20%22w%C3%B6rd%22/%25'],
    ['in JSON', 'S3cret  \\"wörd\\"/%'],
    ['in base64', 'UzNjcmV0ICAid8O2cmQiLyU='],
    ['in one line', 'S3cret "wörd"/%'],
    ['as the name of a host', 's3cret  "wörd"/%'],
  ])('%s', (_, form) => {
    const redaction = new Redaction();
    redaction.credentials({ username: 'alice', password: PASSWORD });
    expect(redaction.text(`no ${form}.`)).toBe('no [redacted].');
  });

  test('that begins with another, or is as short as a word', () => {
    const redaction = new Redaction();
    for (const token of ['s3cr', 's3cret', 'no']) redaction.credentials({ token });
    expect(redaction.text('no s3cret, no s3cr')).toBe('no [redacted], no [redacted]');
  });

  test.each(['…', '"...', '...'])('cut by %s, however long it and the text are', (cut) => {
    const redaction = new Redaction();
    const secret = 'S3cret'.repeat(50_000);
    redaction.credentials({ token: secret });
    const text = 'no '.repeat(100_000);
    expect(redaction.text(`${text}${secret.slice(0, 9)}${cut} S3c${cut}`)).toBe(`${text}[redacted]${cut} S3c${cut}`);
  });

  test('in the cause alone, where all else is told as it was; errors of this side are left alone', () => {
    const redaction = new Redaction();
    redaction.credentials(ALICE);
    const details = {
      retryable: true,
      status: 503,
      host: 'a:1',
      path: '/v2/',
      registryCode: 'DENIED',
      retryAfterMs: 9,
    };
    const redacted = redaction.error(
      new OciError('registry_error', 'no', { ...details, cause: new Error(`not ${ALICE.password}`) }),
    );
    expect(redacted).toMatchObject({ code: 'registry_error', message: 'no', ...details });
    expect(redacted.cause).toMatchObject({ message: 'Error: not [redacted]' });
    const clean = new OciError('registry_error', 'no', { cause: new Error('not that') });
    expect(redaction.error(clean)).toBe(clean);
    const own = new Error(ALICE.password);
    expect(redaction.redacted(own)).toBe(own);
  });

  test('of the server’s own Docker login', async () => {
    const { client, reference, registry } = await scene(
      { kind: 'basic', ...ALICE },
      { credentialSource: async () => ALICE },
    );
    registry.plan({ path: '/v2/team', after: 1, status: 403, error: say(ALICE.password) });
    expectNoSecret(await failure(client.resolve(reference)));
  });
});
