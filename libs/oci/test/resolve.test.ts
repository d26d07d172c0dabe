import { gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import {
  hostArchitecture,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
  type PushedImage,
  type TestRegistry,
  zstdFrame,
} from '../../../test/support/registry.ts';
import {
  type OciError,
  parsePlatform,
  parseReference,
  type Resolution,
  type ResolvedImage,
  type ResolveOptions,
} from '../index.ts';
import { failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const REPOSITORY = 'team/app';

interface Scene {
  readonly registry: TestRegistry;
  push(platform?: { os?: string; architecture: string; variant?: string }, tag?: string): PushedImage;
  resolve(suffix?: string, options?: ResolveOptions): Promise<ResolvedImage>;
  digest(suffix?: string, options?: ResolveOptions): Promise<string>;
  digests(suffix?: string, options?: ResolveOptions): Promise<Resolution>;
  isUnchanged(known: Resolution, options?: ResolveOptions): Promise<boolean>;
  refusal(suffix?: string, options?: ResolveOptions): Promise<OciError>;
}

async function scene(): Promise<Scene> {
  const registry = await fixture.registry();
  const client = fixture.client();
  const reference = (suffix = ':latest') => parseReference(`${registry.host}/${REPOSITORY}${suffix}`);
  return {
    registry,
    push: (platform, tag) =>
      registry.pushImage({
        repository: REPOSITORY,
        tag,
        platform,
        layers: [{ tar: random(100) }, { tar: random(200) }],
      }),
    resolve: (suffix, options) => client.resolve(reference(suffix), options),
    digest: async (suffix, options) => (await client.resolveDigests(reference(suffix), options)).manifestDigest,
    digests: (suffix, options) => client.resolveDigests(reference(suffix), options),
    isUnchanged: (known, options) => client.isUnchanged(reference(), known, options),
    refusal: (suffix, options) => failure(client.resolve(reference(suffix), options)),
  };
}

const on = (text: string): ResolveOptions => ({ platform: parsePlatform(text) });

function putConfig(registry: TestRegistry, config: object) {
  return registry.putBlob(Buffer.from(JSON.stringify(config)), OCI_CONFIG);
}

describe('an image', () => {
  test('is its manifest, its config and its layers', async () => {
    const { registry, resolve } = await scene();
    const tar = random(1000);
    const pushed = registry.pushImage({
      repository: REPOSITORY,
      layers: [{ tar }, { tar: random(10), compression: 'none' }, { tar: zstdFrame(tar), compression: 'zstd' }],
      config: { Env: ['A=1'], Cmd: ['/bin/sh'], Entrypoint: null, User: '1000', ExposedPorts: { '80/tcp': {} } },
    });
    const image = await resolve();
    expect(image).toMatchObject({
      manifestDigest: pushed.digest,
      targetDigest: pushed.digest,
      configDigest: pushed.manifest.config.digest,
      platform: { os: 'linux', architecture: hostArchitecture() },
      config: { env: ['A=1'], cmd: ['/bin/sh'], entrypoint: [], user: '1000', exposedPorts: ['80/tcp'] },
    });
    expect(image.layers).toEqual(
      pushed.layers.map((descriptor, position) => ({
        descriptor,
        diffId: pushed.diffIds[position],
        compression: ['gzip', 'none', 'zstd'][position],
      })),
    );
    expect(registry.requests).toHaveLength(2);
  });

  test('by digest, and by tag and digest: the digest decides', async () => {
    const { push, resolve, registry } = await scene();
    const { digest } = push();
    expect((await resolve(`@${digest}`)).manifestDigest).toBe(digest);
    expect((await resolve(`:nothing@${digest}`)).manifestDigest).toBe(digest);
    expect(registry.requests[0]?.path).toBe(`/v2/${REPOSITORY}/manifests/${digest}`);
  });

  test('in Docker’s media types, and where the registry names none', async () => {
    const { registry, push, resolve } = await scene();
    const { manifest } = push();
    for (const [tag, mediaType, contentType] of [
      ['docker', DOCKER_MANIFEST, undefined],
      ['text', undefined, 'text/plain; charset=utf-8'],
      ['json', undefined, 'application/json'],
    ] as const) {
      registry.putManifest(REPOSITORY, tag, { ...manifest, mediaType }, contentType);
      expect((await resolve(`:${tag}`)).layers).toHaveLength(2);
    }
  });

  test('that a proxy compressed on its way, though it was asked not to', async () => {
    const { registry, push, resolve, refusal } = await scene();
    const { digest, manifest } = push();
    const bytes = Buffer.from(JSON.stringify(manifest));
    const config = registry.blob(manifest.config.digest) ?? Buffer.alloc(0);
    const gzipped = { 'content-encoding': 'gzip', 'content-length': undefined };
    registry.plan({ path: '/manifests/', body: gzipSync(bytes), headers: gzipped });
    registry.plan({ path: '/blobs/', body: gzipSync(config), headers: gzipped });
    expect((await resolve()).manifestDigest).toBe(digest);
    registry.clearFaults();
    // It only says so.
    registry.plan({ path: '/manifests/', headers: gzipped });
    expect((await resolve()).manifestDigest).toBe(digest);
    registry.clearFaults();
    registry.plan({ path: '/manifests/', body: gzipSync(Buffer.alloc(5 * 1024 * 1024)), headers: gzipped });
    expect((await refusal()).message).toContain('is larger than 4 MiB');
  });

  test('whose layers are named by another algorithm', async () => {
    const { registry, push, refusal } = await scene();
    const { manifest } = push();
    const [layer, ...layers] = manifest.layers;
    const sha512 = { ...layer, digest: `sha512:${'a'.repeat(128)}` };
    registry.putManifest(REPOSITORY, 'sha512', { ...manifest, layers: [sha512, ...layers] });
    expect(await refusal(':sha512')).toMatchObject({ code: 'unsupported_media_type', retryable: false });
    const diffIds = manifest.layers.map(() => sha512.digest);
    const config = putConfig(registry, { rootfs: { type: 'layers', diff_ids: diffIds } });
    registry.putManifest(REPOSITORY, 'sha512-tars', { ...manifest, config });
    expect(await refusal(':sha512-tars')).toMatchObject({ code: 'unsupported_media_type', retryable: false });
  });

  test('without layers, however its list of none is written', async () => {
    const { registry, resolve } = await scene();
    const config = putConfig(registry, { rootfs: { type: 'layers', diff_ids: null } });
    for (const layers of [[], null, undefined]) {
      registry.putManifest(REPOSITORY, 'latest', { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers });
      expect((await resolve()).layers).toEqual([]);
    }
  });

  test('with null among its labels or the annotations of its index, which is an empty text to Go', async () => {
    const { registry, resolve } = await scene();
    const config = putConfig(registry, { rootfs: { type: 'layers' }, config: { Labels: { a: null, b: 'c' } } });
    const manifest = { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [] };
    const digest = registry.putManifest(REPOSITORY, undefined, manifest);
    const size = Buffer.byteLength(JSON.stringify(manifest));
    const platform = { os: 'linux', architecture: hostArchitecture() };
    registry.pushIndex(REPOSITORY, 'latest', [
      { mediaType: OCI_MANIFEST, digest, size, platform, annotations: { a: null } },
    ]);
    expect((await resolve()).config.labels).toEqual({ a: '', b: 'c' });
  });

  test.each(['application/octet-stream', 'application/json', 'text/html', '', undefined])(
    'whose config is of the type %p, as Docker wrote in 2016',
    async (mediaType) => {
      const { registry, push, resolve, refusal } = await scene();
      const { manifest } = push();
      const early = { ...manifest, config: { ...manifest.config, mediaType } };
      registry.putManifest(REPOSITORY, 'early', { ...early, mediaType: DOCKER_MANIFEST });
      expect((await resolve(':early')).layers).toHaveLength(2);
      registry.putManifest(REPOSITORY, 'artifact', early);
      expect(await refusal(':artifact')).toMatchObject({ code: 'unsupported_media_type' });
    },
  );

  test('from a server with headers of 100 KB', async () => {
    const { registry, push, resolve } = await scene();
    const { digest } = push();
    registry.plan({ path: '/manifests/', headers: { 'content-security-policy': 'x'.repeat(100_000) } });
    expect((await resolve()).manifestDigest).toBe(digest);
  });

  test('for another processor is taken when no platform was asked for, and refused when one was', async () => {
    const { push, resolve, digest, refusal } = await scene();
    const pushed = push({ architecture: 's390x' });
    expect((await resolve()).platform).toEqual({ os: 'linux', architecture: 's390x' });
    expect(await digest()).toBe(pushed.digest);
    expect(await digest(':latest', on('linux/s390x'))).toBe(pushed.digest);
    await expect(digest(':latest', on('linux/amd64'))).rejects.toMatchObject({ code: 'platform_not_found' });
    const error = await refusal(':latest', on('linux/amd64'));
    expect(error).toMatchObject({ code: 'platform_not_found', retryable: false });
    expect(error.message).toMatch(
      /\/team\/app:latest has no image for linux\/amd64; it is available for linux\/s390x$/,
    );
  });

  test('for another system is refused', async () => {
    const { push, refusal } = await scene();
    push({ os: 'windows', architecture: hostArchitecture() });
    expect((await refusal()).message).toContain(`it is available for windows/${hostArchitecture()}`);
  });

  test('that is not there', async () => {
    const { refusal, registry } = await scene();
    const error = await refusal(':nope');
    expect(error).toMatchObject({
      code: 'manifest_unknown',
      registryCode: 'MANIFEST_UNKNOWN',
      status: 404,
      host: registry.host,
      path: `/v2/${REPOSITORY}/manifests/nope`,
      retryable: false,
    });
    expect(error.message).toBe(
      `${registry.host} does not have the manifest of ${registry.host}/team/app:nope: MANIFEST_UNKNOWN: manifest unknown (status 404). Check the name and the tag`,
    );
    expect(registry.requests).toHaveLength(1);
  });
});

describe('whether a reference resolves to what it did before', () => {
  async function indexed() {
    const made = await scene();
    const { registry, push, digests } = made;
    const [amd64, arm64] = [push({ architecture: 'amd64' }, 'a'), push({ architecture: 'arm64' }, 'b')];
    registry.pushIndex(REPOSITORY, 'latest', [amd64.descriptor, arm64.descriptor]);
    const known = await digests(':latest', on('linux/arm64'));
    registry.requests.length = 0;
    return { ...made, amd64, arm64, known };
  }

  test('is told by one HEAD request', async () => {
    const { registry, isUnchanged, known, amd64, arm64 } = await indexed();
    expect(await isUnchanged(known, on('linux/arm64'))).toBe(true);
    registry.pushIndex(REPOSITORY, 'latest', [arm64.descriptor, amd64.descriptor]);
    expect(await isUnchanged(known, on('linux/arm64'))).toBe(false);
    expect(registry.requests.map(({ method }) => method)).toEqual(['HEAD', 'HEAD']);
  });

  test('of another platform is not known', async () => {
    const { registry, isUnchanged, known } = await indexed();
    expect(await isUnchanged(known, on('linux/amd64'))).toBe(false);
    expect(registry.requests).toEqual([]);
  });

  test('without an index is not known if a platform is asked for, as that has to be checked', async () => {
    const { push, digests, isUnchanged } = await scene();
    push({ architecture: 's390x' });
    const known = await digests();
    expect(await isUnchanged(known)).toBe(true);
    expect(await isUnchanged(known, on(known.wantedPlatform))).toBe(false);
  });

  test('is told by a digest that is stated twice, if both are the same', async () => {
    const { registry, isUnchanged, known } = await indexed();
    for (const [other, unchanged] of [
      [known.targetDigest, true],
      [known.manifestDigest, false],
    ] as const) {
      const headers = { 'docker-content-digest': [known.targetDigest, other] };
      registry.plan({ path: '/manifests/', times: 1, headers });
      expect(await isUnchanged(known, on('linux/arm64'))).toBe(unchanged);
    }
  });

  test('is not believed of another digest than the one that is asked for', async () => {
    const { registry, amd64, known } = await indexed();
    const reference = parseReference(`${registry.host}/${REPOSITORY}@${amd64.digest}`);
    registry.plan({ path: '/manifests/', headers: { 'docker-content-digest': known.targetDigest } });
    expect(await fixture.client().isUnchanged(reference, known, on('linux/arm64'))).toBe(false);
    expect(registry.requests).toEqual([]);
  });

  test.each([
    [{ status: 405 }],
    [{ status: 429 }],
    [{ hang: true }],
    [{ headers: { 'docker-content-digest': undefined } }],
    [{ redirect: 'ftp://127.0.0.1/' }],
    [{ redirect: 'http://127.0.0.1:1/' }],
  ])('is not known from an answer of %j', async (fault) => {
    const { registry, isUnchanged, known } = await indexed();
    registry.plan({ path: '/manifests/', times: 1, ...fault });
    expect(await isUnchanged(known, on('linux/arm64'))).toBe(false);
    expect(registry.requests).toHaveLength(1);
    // A host that has left a HEAD request unanswered is spared for a while.
    expect(await isUnchanged(known, on('linux/arm64'))).toBe(!('hang' in fault));
    expect(registry.requests).toHaveLength('hang' in fault ? 1 : 2);
  });

  test('is asked with the login that the registry demands', async () => {
    const credentials = { username: 'ann', password: 'secret' };
    const registry = await fixture.registry({ auth: { kind: 'bearer', ...credentials } });
    const reference = parseReference(registry.pushImage({ repository: REPOSITORY, layers: [] }).reference);
    const known = await fixture.client().resolveDigests(reference, { credentials });
    expect(await fixture.client().isUnchanged(reference, known, { credentials })).toBe(true);
    expect(await failure(fixture.client().isUnchanged(reference, known))).toMatchObject({ code: 'unauthorized' });
  });

  test.each(['basic', 'bearer'] as const)(
    'is asked once only with a wrong password (%s), for which accounts are locked',
    async (kind) => {
      const credentials = { username: 'ann', password: 'secret' };
      const registry = await fixture.registry({ auth: { kind, ...credentials } });
      const reference = parseReference(registry.pushImage({ repository: REPOSITORY, layers: [] }).reference);
      const client = fixture.client();
      const known = await client.resolveDigests(reference, { credentials });
      registry.requests.length = 0;
      const wrong = { credentials: { ...credentials, password: 'wrong' } };
      expect(await failure(client.isUnchanged(reference, known, wrong))).toMatchObject({ code: 'unauthorized' });
      const authorization = `Basic ${Buffer.from('ann:wrong').toString('base64')}`;
      expect(registry.requests.filter((request) => request.authorization === authorization)).toHaveLength(1);
      const behindMirror = fixture.client({ registries: { [registry.host]: { mirrors: ['mirror.invalid'] } } });
      expect(await behindMirror.isUnchanged(reference, known, wrong)).toBe(false);
    },
  );
});

describe('an index', () => {
  test('gives the image of the platform that is asked for, or else of this machine', async () => {
    const { registry, push, resolve, digest } = await scene();
    const amd64 = push({ architecture: 'amd64' }, 'a');
    const arm64 = push({ architecture: 'arm64' }, 'b');
    for (const mediaType of [OCI_INDEX, DOCKER_LIST]) {
      const target = registry.pushIndex(REPOSITORY, 'latest', [amd64.descriptor, arm64.descriptor], mediaType);
      const image = await resolve(':latest', on('linux/arm64'));
      expect(image).toMatchObject({ manifestDigest: arm64.digest, targetDigest: target });
      expect(await digest(':latest', on('linux/amd64'))).toBe(amd64.digest);
      const own = hostArchitecture() === 'arm64' ? arm64 : amd64;
      expect((await resolve()).manifestDigest).toBe(own.digest);
    }
  });

  test.each([
    ['linux/arm/v7', 'v7'],
    ['linux/arm/v6', 'v6'],
    ['linux/arm/v8', 'v7'],
    ['linux/arm', 'v7'],
  ])('variants: for %s the best is %s', async (platform, variant) => {
    const { registry, push, resolve } = await scene();
    const images = ['v5', 'v7', 'v6'].map((each) => push({ architecture: 'arm', variant: each }, each));
    registry.pushIndex(
      REPOSITORY,
      'latest',
      images.map(({ descriptor }) => descriptor),
    );
    expect((await resolve(':latest', on(platform))).platform.variant).toBe(variant);
  });

  test('within an index', async () => {
    const { registry, push, resolve, digest } = await scene();
    const image = push({ architecture: 'riscv64' }, 'a');
    const other = push({ architecture: 'ppc64le' }, 'b');
    let inner: object = image.descriptor;
    for (const tag of ['one', 'two']) {
      const target = registry.pushIndex(REPOSITORY, tag, [inner]);
      const size = Buffer.byteLength(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [inner] }));
      inner = { mediaType: OCI_INDEX, digest: target, size };
    }
    registry.pushIndex(REPOSITORY, 'latest', [other.descriptor, inner]);
    expect((await resolve(':latest', on('linux/riscv64'))).manifestDigest).toBe(image.digest);
    expect(await digest(':latest', on('linux/riscv64'))).toBe(image.digest);
  });

  test('attestations and signatures are no images', async () => {
    const { registry, push, resolve, refusal } = await scene();
    const { descriptor, digest } = push();
    const attestation = {
      ...descriptor,
      platform: { os: 'unknown', architecture: 'unknown' },
      annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
    };
    registry.pushIndex(REPOSITORY, 'latest', [attestation, descriptor]);
    expect((await resolve()).manifestDigest).toBe(digest);
    registry.pushIndex(REPOSITORY, 'only', [attestation]);
    expect((await refusal(':only')).message).toContain('it lists no image at all');
  });

  test.each<[string, { config?: string; layer?: string; entry?: string }, string]>([
    ['a Helm chart', { config: 'application/vnd.cncf.helm.config.v1+json' }, 'this is a Helm chart'],
    ['an SBOM', { config: 'application/vnd.oci.empty.v1+json', layer: 'text/spdx+json' }, 'this is an artifact'],
    ['a signature', { layer: 'application/vnd.dev.cosign.simplesigning.v1+json' }, 'this is a signature'],
    ['what is not known', { entry: 'application/x-something' }, 'an entry of its index has media type "application/x-'],
  ])('%s before the image, for the same platform, does not hide it', async (_what, { config, layer, entry }, words) => {
    const { registry, push, resolve, digest, refusal } = await scene();
    const { manifest, digest: wanted, descriptor } = push({ architecture: 'amd64' }, 'a');
    const artifact = {
      ...manifest,
      config: { ...manifest.config, mediaType: config ?? manifest.config.mediaType },
      layers: manifest.layers.map((each) => ({ ...each, mediaType: layer ?? each.mediaType })),
      artifactType: 'application/vnd.example',
    };
    const listed = {
      ...descriptor,
      mediaType: entry ?? OCI_MANIFEST,
      digest: registry.putManifest(REPOSITORY, undefined, artifact),
      size: Buffer.byteLength(JSON.stringify(artifact)),
    };
    const nowhere = { ...listed, platform: undefined };
    registry.pushIndex(REPOSITORY, 'latest', [nowhere, listed, descriptor]);
    expect((await resolve(':latest', on('linux/amd64'))).manifestDigest).toBe(wanted);
    expect(await digest(':latest', on('linux/amd64'))).toBe(wanted);
    expect((await refusal(':latest', on('linux/arm64'))).message).toMatch(/it is available for linux\/amd64$/);
    registry.pushIndex(REPOSITORY, 'latest', [listed]);
    expect(await refusal(':latest', on('linux/amd64'))).toMatchObject({
      code: 'unsupported_media_type',
      message: expect.stringContaining(words),
    });
  });

  test('entries that state no platform are looked into', async () => {
    const { registry, push, resolve, refusal } = await scene();
    const { descriptor, digest } = push({ architecture: 'riscv64' }, 'a');
    for (const platform of [{ architecture: 'riscv64' }, { os: 'linux' }, {}, undefined]) {
      registry.pushIndex(REPOSITORY, 'latest', [{ ...descriptor, platform }]);
      expect((await resolve(':latest', on('linux/riscv64'))).manifestDigest).toBe(digest);
    }
    expect((await refusal(':latest', on('linux/amd64'))).message).toContain('available for linux/riscv64');
  });

  test('a chart beside an image, neither with a platform, is passed over', async () => {
    const { registry, push, resolve } = await scene();
    const { descriptor, digest, manifest } = push(undefined, 'a');
    const chart = {
      ...manifest,
      config: { ...manifest.config, mediaType: 'application/vnd.cncf.helm.config.v1+json' },
    };
    const size = Buffer.byteLength(JSON.stringify(chart));
    const entry = { mediaType: OCI_MANIFEST, digest: registry.putManifest(REPOSITORY, 'chart', chart), size };
    registry.pushIndex(REPOSITORY, 'latest', [entry, { ...descriptor, platform: undefined }]);
    expect((await resolve()).manifestDigest).toBe(digest);
  });

  test('an entry for the platform that says it is an image, and is another index', async () => {
    const { registry, push, refusal } = await scene();
    const inner = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [push(undefined, 'a').descriptor] };
    const size = Buffer.byteLength(JSON.stringify(inner));
    const entry = { ...push(undefined, 'a').descriptor, digest: registry.putManifest(REPOSITORY, 'b', inner), size };
    registry.pushIndex(REPOSITORY, 'latest', [entry]);
    expect(await refusal()).toMatchObject({
      code: 'invalid_manifest',
      message: expect.stringContaining(`${entry.digest} is not an image manifest`),
    });
  });

  test('without the platform: the list of what there is', async () => {
    const { registry, push, refusal } = await scene();
    const images = ['s390x', 'arm', 'riscv64'].map((architecture) => push({ architecture }, architecture));
    registry.pushIndex(
      REPOSITORY,
      'latest',
      images.map(({ descriptor }) => descriptor),
    );
    const error = await refusal(':latest', on('linux/386'));
    expect(error.code).toBe('platform_not_found');
    expect(error.message).toMatch(
      /has no image for linux\/386; it is available for linux\/arm\/v7, linux\/riscv64, linux\/s390x$/,
    );
  });

  test.each<[string, object]>([
    ['a digest of an algorithm that is not known', { digest: `blake3:${'0'.repeat(64)}` }],
    ['a digest that climbs', { digest: 'sha256:../../etc/passwd' }],
    ['no size', { size: undefined }],
    ['annotations that are none', { annotations: 'none' }],
  ])('an entry with %s matters only where it is the one asked for', async (_, changed) => {
    const { registry, push, resolve, digest, refusal } = await scene();
    const image = push({ architecture: 'amd64' }, 'a');
    const broken = { ...push({ architecture: 'arm64' }, 'b').descriptor, ...changed };
    const inner = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [broken] };
    const size = Buffer.byteLength(JSON.stringify(inner));
    const nested = { mediaType: OCI_INDEX, digest: registry.putManifest(REPOSITORY, 'inner', inner), size };
    registry.pushIndex(REPOSITORY, 'latest', [broken, { ...broken, platform: undefined }, nested, image.descriptor]);
    for (const options of [on('linux/amd64'), on('linux/amd64/v3')]) {
      expect((await resolve(':latest', options)).manifestDigest).toBe(image.digest);
      expect(await digest(':latest', options)).toBe(image.digest);
    }
    expect(await refusal(':latest', on('linux/arm64'))).toMatchObject({
      code: 'invalid_manifest',
      message: expect.stringContaining(`is invalid: manifests.0.${Object.keys(changed)[0]}: `),
    });
    registry.pushIndex(REPOSITORY, 'latest', [broken, image.descriptor]);
    expect((await refusal(':latest', on('linux/s390x'))).message).toMatch(/it is available for linux\/amd64$/);
  });

  test('of nothing that can be read is given up early', async () => {
    const { registry, push, refusal } = await scene();
    registry.pushIndex(REPOSITORY, 'latest', [...new Array(1025).fill({}), push().descriptor]);
    expect((await refusal()).message).toContain('too many of its entries cannot be read');
  });

  test('of hundreds of platforms lists some of them', async () => {
    const { registry, push, refusal } = await scene();
    const { descriptor } = push();
    const entries = Array.from({ length: 1000 }, (_, count) => ({
      ...descriptor,
      platform: { os: 'linux', architecture: `a${String(count).padStart(3, '0')}${'x'.repeat(1000)}` },
    }));
    registry.pushIndex(REPOSITORY, 'latest', entries);
    const { message } = await refusal();
    expect(message).toMatch(/it is available for linux\/a000x.*, linux\/a039x.*, … and 960 more$/);
    expect(message.length).toBeLessThan(10_000);
  });

  test('that never ends is given up', async () => {
    const { registry, push, refusal } = await scene();
    let inner: object = push(undefined, 'a').descriptor;
    for (let depth = 0; depth < 6; depth += 1) {
      const content = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [inner] };
      const target = registry.putManifest(REPOSITORY, 'latest', content);
      inner = { mediaType: OCI_INDEX, digest: target, size: Buffer.byteLength(JSON.stringify(content)) };
    }
    expect(await refusal()).toMatchObject({
      code: 'invalid_manifest',
      retryable: false,
      message: expect.stringContaining('nested too deeply'),
    });
    const { descriptor } = push(undefined, 'b');
    const wide = Array.from({ length: 100 }, () => ({ ...descriptor, platform: undefined }));
    registry.pushIndex(REPOSITORY, 'latest', wide);
    registry.requests.length = 0;
    expect(await refusal(':latest', on('linux/sparc64'))).toMatchObject({
      code: 'invalid_manifest',
      message: expect.stringContaining('name the image by its own digest'),
    });
    expect(registry.requests.length).toBeLessThan(100);
  });
});

describe('what is not what it should be', () => {
  test('a manifest that was asked for by digest', async () => {
    const { push, refusal, registry } = await scene();
    const { digest, manifest } = push();
    registry.plan({ path: '/manifests/', body: JSON.stringify({ ...manifest, annotations: {} }) });
    const error = await refusal(`@${digest}`);
    expect(error).toMatchObject({ code: 'digest_mismatch', retryable: false });
    expect(error.message).toContain(digest);
  });

  test.each(['sha256:0000', `sha256:${'0'.repeat(64)}`, `sha256:${'0'.repeat(64)}, sha256:0`])(
    'a Docker-Content-Digest that is %s',
    async (stated) => {
      const { push, refusal, registry } = await scene();
      push();
      registry.plan({ path: '/manifests/', headers: { 'docker-content-digest': stated } });
      expect((await refusal()).message).toContain(`does not match its Docker-Content-Digest header (${stated})`);
    },
  );

  test('none at all is no fault, nor the same one twice, nor one that is wrong where the bytes were asked for by theirs', async () => {
    const { push, resolve, registry } = await scene();
    const { digest } = push();
    const wrong = `sha256:${'0'.repeat(64)}`;
    for (const [suffix, stated] of [
      [':latest', undefined],
      [':latest', [digest, digest]],
      [`@${digest}`, wrong],
    ] as const) {
      registry.clearFaults();
      registry.plan({ path: '/manifests/', headers: { 'docker-content-digest': stated } });
      expect((await resolve(suffix)).manifestDigest).toBe(digest);
    }
  });

  test('a config with other bytes, or of another size', async () => {
    const { push, refusal, registry } = await scene();
    push();
    registry.plan({ path: '/blobs/', corruptAt: 3, times: 1 });
    expect(await refusal()).toMatchObject({ code: 'digest_mismatch' });
    registry.plan({ path: '/blobs/', body: '{}', times: 1 });
    expect(await refusal()).toMatchObject({ code: 'size_mismatch' });
  });

  test('a manifest of an index with another size', async () => {
    const { push, refusal, registry } = await scene();
    const { descriptor } = push(undefined, 'a');
    registry.pushIndex(REPOSITORY, 'latest', [{ ...descriptor, size: 7 }]);
    expect(await refusal()).toMatchObject({ code: 'size_mismatch' });
  });

  test('a manifest above 4 MiB, with or without a length', async () => {
    const { refusal, registry, push } = await scene();
    push();
    const body = Buffer.alloc(4 * 1024 * 1024 + 1, ' ');
    registry.plan({ path: '/manifests/', body, times: 1 });
    registry.plan({ path: '/manifests/', body, endAfter: body.length, times: 1 });
    for (const _ of [1, 2]) expect((await refusal()).message).toContain('is larger than 4 MiB');
  });

  test.each<[string, string, string]>([
    ['HTML', '<html>login</html>', 'is not JSON'],
    ['nothing', '', 'is not JSON'],
    ['a list', '[]', 'is not a JSON object'],
    ['no config', JSON.stringify({ mediaType: OCI_MANIFEST, config: {} }), 'config.digest'],
    ['both at once', JSON.stringify({ mediaType: OCI_MANIFEST, manifests: [], layers: [] }), 'at once'],
    [
      'a digest that climbs',
      JSON.stringify({
        mediaType: OCI_MANIFEST,
        config: { mediaType: OCI_CONFIG, digest: 'sha256:../../etc/passwd', size: 1 },
        layers: [],
      }),
      'config.digest: is not a sha256 or sha512 digest',
    ],
  ])('garbage: %s', async (_, body, reason) => {
    const { refusal, registry, push } = await scene();
    push();
    registry.plan({ path: '/manifests/', body, headers: { 'docker-content-digest': undefined } });
    const error = await refusal();
    expect(error).toMatchObject({ code: 'invalid_manifest', retryable: false });
    expect(error.message).toContain(reason);
  });

  test.each<[string, object]>([
    ['config.Env: is not a list of strings', { config: { Env: new Array(150_000).fill(1) } }],
    ['config.Labels: is not a map of strings', { config: { Labels: { a: 'b', c: 1 } } }],
    ['config.Volumes: is not a map', { config: { Volumes: ['/data'] } }],
    [
      'rootfs.diff_ids: is not a list of digests',
      { rootfs: { type: 'layers', diff_ids: new Array(150_000).fill('x') } },
    ],
  ])('a config of which is told in a few words: %s', async (reason, changed) => {
    const { refusal, registry, push } = await scene();
    const { manifest } = push();
    const config = putConfig(registry, { rootfs: { type: 'layers' }, ...changed });
    registry.putManifest(REPOSITORY, 'latest', { ...manifest, config });
    expect(await refusal()).toMatchObject({ code: 'invalid_manifest', message: expect.stringMatching(`${reason}$`) });
  });

  test('more layers in the manifest than in the config', async () => {
    const { refusal, registry, push } = await scene();
    const { manifest } = push();
    registry.putManifest(REPOSITORY, 'latest', { ...manifest, layers: manifest.layers.slice(1) });
    expect((await refusal()).message).toContain('its manifest has 1 layer and its config 2');
  });

  test('thousands of layers', async () => {
    const { refusal, resolve, registry } = await scene();
    const layer = { tar: random(10) };
    registry.pushImage({ repository: REPOSITORY, layers: new Array(1024).fill(layer) });
    expect((await resolve()).layers).toHaveLength(1024);
    registry.pushImage({ repository: REPOSITORY, layers: new Array(1025).fill(layer) });
    expect(await refusal()).toMatchObject({ code: 'invalid_manifest', retryable: false });
    expect((await refusal()).message).toContain('layers: has more than 1024, which is the limit');
  });
});

describe('what is no image is refused by the name of its type', () => {
  test.each([
    ['application/vnd.cncf.helm.config.v1+json', 'a Helm chart'],
    ['application/vnd.oci.empty.v1+json', 'an artifact'],
    ['application/vnd.docker.plugin.v1+json', 'a Docker plugin'],
    ['application/vnd.wasm.config.v0+json', 'a WebAssembly module'],
    ['application/x-something', ''],
  ])('config %s', async (mediaType, what) => {
    const { refusal, registry, push } = await scene();
    const { manifest } = push();
    registry.putManifest(REPOSITORY, 'latest', { ...manifest, config: { ...manifest.config, mediaType } });
    const error = await refusal();
    expect(error).toMatchObject({ code: 'unsupported_media_type', retryable: false });
    expect(error.message).toContain(mediaType);
    expect(error.message).toContain(what);
  });

  test.each([
    ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted', 'an encrypted layer'],
    ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 'a foreign layer'],
    ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'a foreign layer'],
    ['application/vnd.oci.image.layer.v1.tar+lz4', ''],
  ])('layer %s', async (mediaType, what) => {
    const { refusal, registry, push } = await scene();
    const { manifest, layers } = push();
    registry.putManifest(REPOSITORY, 'latest', { ...manifest, layers: [{ ...layers[0], mediaType }, layers[1]] });
    const error = await refusal();
    expect(error).toMatchObject({ code: 'unsupported_media_type' });
    expect(error.message).toContain(`a layer has media type "${mediaType}"`);
    expect(error.message).toContain(what);
  });

  test.each([
    ['application/vnd.docker.distribution.manifest.v1+prettyjws', { schemaVersion: 1, fsLayers: [] }],
    ['application/vnd.docker.distribution.manifest.v1+json', { schemaVersion: 1, name: 'a' }],
  ])('schema 1 as %s', async (mediaType, content) => {
    const { refusal, registry } = await scene();
    registry.putManifest(REPOSITORY, 'latest', content, mediaType);
    // That of what is signed, not of what is sent.
    registry.plan({ path: '/manifests/', headers: { 'docker-content-digest': `sha256:${'0'.repeat(64)}` } });
    const error = await refusal();
    expect(error.code).toBe('unsupported_media_type');
    expect(error.message).toContain('Docker schema 1');
  });

  test.each<[string, object, string]>([
    ['of schema 1', { schemaVersion: 1, fsLayers: [] }, 'Docker schema 1'],
    ['of schema 1 without its number', { fsLayers: [] }, 'Docker schema 1'],
    ['that is nothing', { schemaVersion: 2 }, '"text/plain"'],
  ])('a manifest that is sent as text, and %s', async (_, content, what) => {
    const { refusal, registry } = await scene();
    registry.putManifest(REPOSITORY, 'latest', content, 'text/plain');
    expect(await refusal()).toMatchObject({
      code: 'unsupported_media_type',
      message: expect.stringContaining(what),
    });
  });

  test('an artifact manifest', async () => {
    const { refusal, registry } = await scene();
    const mediaType = 'application/vnd.oci.artifact.manifest.v1+json';
    registry.putManifest(REPOSITORY, 'latest', { mediaType, artifactType: 'a/b', blobs: [] });
    expect((await refusal()).message).toMatch(/artifact\.manifest\.v1\+json": this is an artifact, not an image$/);
  });
});

describe('failures of the moment', () => {
  test.each([500, 503, 429, 408])('status %i is met by asking again', async (status) => {
    const { resolve, registry, push } = await scene();
    push();
    registry.plan({ path: '/manifests/', status, times: 1 });
    registry.plan({ path: '/blobs/', status, times: 1 });
    expect((await resolve()).layers).toHaveLength(2);
  });

  test('but not for ever', async () => {
    const { refusal, registry, push } = await scene();
    push();
    registry.plan({ path: '/manifests/', status: 500, error: { code: 'INTERNAL', message: 'disk\u001b[31m on fire' } });
    const error = await refusal();
    expect(error).toMatchObject({ code: 'registry_error', registryCode: 'INTERNAL', status: 500, retryable: true });
    expect(error.message).toContain('INTERNAL: disk [31m on fire (status 500)');
    expect(registry.requests).toHaveLength(4);
  });

  test('a port where nobody listens is told at once', async () => {
    const { registry, refusal } = await scene();
    await registry.close();
    const error = await refusal();
    expect(error).toMatchObject({ code: 'registry_unreachable', host: registry.host });
    expect(error.message).toContain(`cannot reach ${registry.host}: the connection was refused`);
    // For the clean-up, which closes it again.
    registry.close = () => Promise.resolve();
  });

  test('a host that no name server knows', async () => {
    const error = await failure(fixture.client().resolve(parseReference('registry.invalid/team/app')));
    expect(error).toMatchObject({ code: 'registry_unreachable', host: 'registry.invalid' });
  });

  test('an answer that is no HTTP', async () => {
    const { registry, refusal, push } = await scene();
    push();
    registry.plan({ path: '/manifests/', headers: { 'content-length': 'many' } });
    expect(await refusal()).toMatchObject({ code: 'registry_error', retryable: true });
  });

  test('cancelling ends it', async () => {
    const { registry, refusal, push } = await scene();
    push();
    registry.plan({ path: '/manifests/', hang: true });
    const cancel = new AbortController();
    const refused = refusal(':latest', { signal: cancel.signal });
    while (registry.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    cancel.abort();
    expect(await refused).toMatchObject({ code: 'cancelled', retryable: false });
  });
});
