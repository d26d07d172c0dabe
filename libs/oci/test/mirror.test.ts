import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { type PushedImage, sha256, type TestRegistry } from '../../../test/support/registry.ts';
import { createRegistryClient, OciError, parseReference, type RegistryClient, type RetryNotice } from '../index.ts';
import { isMirrorFailure } from '../registry/mirror.ts';
import { expectContents, failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();
const ALICE = { username: 'alice', password: 'pw' };

interface Scene {
  readonly registry: TestRegistry;
  readonly mirror: TestRegistry;
  readonly client: RegistryClient;
  readonly image: PushedImage;
  readonly blob: Buffer;
  readonly path: string;
  readonly notices: RetryNotice[];
}

/** An image of one layer at a registry and at its mirror, there below the prefix `hub`. */
async function scene(): Promise<Scene> {
  const registry = await fixture.registry();
  const mirror = await fixture.registry();
  const blob = random(1_000_000);
  const layers = [{ tar: blob, compression: 'none' }] as const;
  const image = registry.pushImage({ repository: 'team/app', layers });
  mirror.pushImage({ repository: 'hub/team/app', layers });
  const notices: RetryNotice[] = [];
  const client = fixture.client({
    registries: { [registry.host]: { mirrors: [`${mirror.host}/hub/`] } },
    onRetry: (notice) => notices.push(notice),
  });
  return { registry, mirror, client, image, blob, notices, path: join(await fixture.directory(), 'blob') };
}

describe('a mirror', () => {
  test('serves in place of the registry, which is not asked', async () => {
    const { client, image, registry, mirror, path, blob } = await scene();
    const reference = parseReference(image.reference);
    const resolved = await client.resolve(reference);
    expect(resolved).toMatchObject({ reference, manifestDigest: image.digest });
    const digests = await client.resolveDigests(reference);
    expect(digests).toMatchObject({ manifestDigest: image.digest });
    expect(await client.isUnchanged(reference, digests)).toBe(true);
    for (const { descriptor } of resolved.layers) await client.download(reference, descriptor, path);
    await expectContents(path, blob);
    expect(registry.requests).toEqual([]);
    expect(mirror.requests.every(({ path }) => path.startsWith('/v2/hub/team/app/'))).toBe(true);
  });

  test.each([{ status: 404 }, { status: 401 }, { status: 500 }, { status: 429 }, { body: '<html>' }])(
    'that answers %j leaves it to the registry, at once',
    async (fault) => {
      const { client, image, registry, mirror, notices, path, blob } = await scene();
      mirror.plan({ path: '/v2/', ...fault });
      const reference = parseReference(image.reference);
      const { layers, manifestDigest } = await client.resolve(reference);
      expect(manifestDigest).toBe(image.digest);
      for (const { descriptor } of layers) await client.download(reference, descriptor, path);
      await expectContents(path, blob);
      expect(registry.requests).toHaveLength(3);
      expect(mirror.requests).toHaveLength(2);
      expect(notices.map(({ error, delayMs }) => [error.host ?? mirror.host, delayMs])).toEqual([
        [mirror.host, 0],
        [mirror.host, 0],
      ]);
    },
  );

  test('that breaks within a layer: the registry goes on from there', async () => {
    const { client, image, registry, mirror, path, blob } = await scene();
    mirror.plan({ path: '/blobs/', cutAfter: 300_000 });
    const [layer] = image.layers;
    await client.download(parseReference(image.reference), layer ?? fail(), path);
    await expectContents(path, blob);
    expect(registry.requests.map(({ range, ifRange }) => [range, ifRange])).toEqual([['bytes=300000-', undefined]]);
  });

  test('that is not running', async () => {
    const { client, image, mirror } = await scene();
    await mirror.close();
    mirror.close = () => Promise.resolve();
    expect((await client.resolve(parseReference(image.reference))).manifestDigest).toBe(image.digest);
  });

  test('is left out when it is said to have sent wrong bytes', async () => {
    const { client, image, mirror, registry, path, blob } = await scene();
    const [layer] = image.layers;
    const reference = parseReference(image.reference);
    await client.download(reference, layer ?? fail(), path, { avoidMirrors: true });
    await expectContents(path, blob);
    expect(mirror.requests).toEqual([]);
    expect(registry.requests).toHaveLength(1);
  });

  test('that holds another image than the digest asked for', async () => {
    const { client, image, mirror, registry } = await scene();
    mirror.plan({ path: '/manifests/', body: '{}', headers: { 'docker-content-digest': sha256('{}') } });
    const resolved = await client.resolve(parseReference(`${registry.host}/team/app@${image.digest}`));
    expect(resolved.manifestDigest).toBe(image.digest);
  });

  test('never sees the credentials of a pull', async () => {
    const registry = await fixture.registry({ auth: { kind: 'basic', ...ALICE } });
    const mirror = await fixture.registry({ auth: { kind: 'basic', ...ALICE } });
    const image = registry.pushImage({ repository: 'team/app', layers: [] });
    const client = fixture.client({ registries: { [registry.host]: { mirrors: [mirror.host] } } });
    await client.resolve(parseReference(image.reference), { credentials: ALICE });
    expect(mirror.requests.map(({ authorization }) => authorization)).toEqual([undefined]);
  });

  test('and when nobody can serve, what is told is what the registry said', async () => {
    const { client, registry, mirror } = await scene();
    mirror.plan({ path: '/v2/', status: 500 });
    const error = await failure(client.resolve(parseReference(`${registry.host}/team/none`)));
    expect(error).toMatchObject({ code: 'manifest_unknown', host: registry.host });
  });

  test('that does not have the image leaves it to the registry to tell that it is unchanged', async () => {
    const { client, image, registry, mirror } = await scene();
    const reference = parseReference(image.reference);
    const known = await client.resolveDigests(reference);
    mirror.plan({ path: '/v2/', status: 404 });
    expect(await client.isUnchanged(reference, known)).toBe(true);
    expect(registry.requests.filter(({ path }) => path.includes('/manifests/'))).toMatchObject([{ method: 'HEAD' }]);
  });

  test('may stand for Docker Hub', async () => {
    const { mirror } = await scene();
    const { digest } = mirror.pushImage({ repository: 'library/python', layers: [] });
    const client = fixture.client({ registries: { 'docker.io': { mirrors: [mirror.host] } } });
    expect(await client.resolveDigests(parseReference('python'))).toMatchObject({ manifestDigest: digest });
  });

  test.each(['', 'name', 'https://mirror.example', 'mirror.example/UPPER', '/x'])('%j is none', (mirror) => {
    expect(() => createRegistryClient({ registries: { 'a.example': { mirrors: [mirror] } } })).toThrow(
      /mirror|invalid/,
    );
  });
});

function fail(): never {
  throw new Error('the image has no layer');
}

test.each([
  [new OciError('manifest_unknown', 'it is not there'), true],
  [new OciError('registry_unreachable', 'it is away'), true],
  [new OciError('cancelled', 'it was cancelled'), false],
  [new OciError('no_space', 'the disk is full'), false],
  [new OciError('internal', 'a fault'), false],
  [new TypeError('a fault'), false],
])('%s of a mirror is met by asking another: %s', (error, isMet) => {
  expect(isMirrorFailure(error)).toBe(isMet);
});
