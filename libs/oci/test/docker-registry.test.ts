import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type DockerRegistry,
  type DockerRegistryOptions,
  startDockerRegistry,
} from '../../../test/support/docker-registry.ts';
import { OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, sha256, zstdFrame } from '../../../test/support/registry.ts';
import { parseAuthFlag, parsePlatform, parseReference } from '../index.ts';
import { blobName, layout, layoutImage, named, tarOf, writeFiles } from './support/archive-file.ts';
import { makeCertificates, type TestCertificates } from './support/certificate.ts';
import { startCuttingRelay } from './support/cutting-relay.ts';
import { expectContents, failure, missingTool, random, useFixture } from './support/fixture.ts';

const run = promisify(execFile);
const fixture = useFixture();
/** Of the password below, as `htpasswd -B` writes it. */
const HASH = '$2y$05$50q368VQPuqw0q6FJgNHVuOUCgoMwNMA.s9glbrs.tGgAue82si6C';
const ALICE = { username: 'alice', password: 's3cret-pass', hash: HASH };
const REPOSITORY = 'team/app';

const started: DockerRegistry[] = [];
let certificates: TestCertificates;
let open: DockerRegistry;
let image: Awaited<ReturnType<typeof push>>;

async function start(options?: DockerRegistryOptions): Promise<DockerRegistry> {
  const registry = await startDockerRegistry(options);
  started.push(registry);
  return registry;
}

/** An index over two platforms: gzip layers for amd64, a zstd layer for arm64. */
async function push(registry: DockerRegistry) {
  const one = async (architecture: string, layers: readonly { tar: Buffer; blob: Buffer; type: string }[]) => {
    const diffIds = layers.map(({ tar }) => `sha256:${createHash('sha256').update(tar).digest('hex')}`);
    const config = { os: 'linux', architecture, config: {}, rootfs: { type: 'layers', diff_ids: diffIds } };
    const content = await registry.pushManifest(REPOSITORY, undefined, {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: await registry.pushBlob(REPOSITORY, Buffer.from(JSON.stringify(config)), OCI_CONFIG),
      layers: await Promise.all(
        layers.map(({ blob, type }) =>
          registry.pushBlob(REPOSITORY, blob, `application/vnd.oci.image.layer.v1.tar+${type}`),
        ),
      ),
    });
    return { ...content, platform: { os: 'linux', architecture } };
  };
  const gzip = [2_000_000, 10].map((length) => {
    const tar = random(length);
    return { tar, blob: gzipSync(tar, { level: 1 }), type: 'gzip' };
  });
  const tar = random(300_000);
  const zstd = { tar, blob: zstdFrame(tar), type: 'zstd' };
  const amd64 = await one('amd64', gzip);
  const arm64 = await one('arm64', [zstd]);
  const index = await registry.pushManifest(REPOSITORY, 'latest', {
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [amd64, arm64],
  });
  return { amd64, arm64, index, gzip, zstd };
}

beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-tls-'));
  certificates = await makeCertificates(directory);
  await rm(directory, { recursive: true });
  open = await start();
  image = await push(open);
});

afterAll(async () => {
  for (const registry of started) await registry.close();
});

describe('the real registry', () => {
  test('gives an image of each platform, with the bytes that were pushed', async () => {
    const client = fixture.client();
    const directory = await fixture.directory();
    const reference = parseReference(`${open.host}/${REPOSITORY}`);
    for (const [architecture, pushed, layers] of [
      ['amd64', image.amd64, image.gzip],
      ['arm64', image.arm64, [image.zstd]],
    ] as const) {
      const resolved = await client.resolve(reference, { platform: parsePlatform(architecture) });
      expect(resolved).toMatchObject({ manifestDigest: pushed.digest, targetDigest: image.index.digest });
      expect(resolved.layers.map(({ compression }) => compression)).toEqual(layers.map(({ type }) => type));
      for (const [position, { descriptor }] of resolved.layers.entries()) {
        const path = join(directory, descriptor.digest);
        await client.download(reference, descriptor, path);
        await expectContents(path, layers[position]?.blob ?? Buffer.alloc(0));
      }
    }
    const byDigest = parseReference(`${open.host}/${REPOSITORY}@${image.arm64.digest}`);
    expect(await client.resolveDigests(byDigest)).toMatchObject({ manifestDigest: image.arm64.digest });
  });

  test('tells by HEAD that a tag, or a digest, is what it was', async () => {
    const client = fixture.client();
    for (const suffix of ['', `@${image.index.digest}`, `@${image.amd64.digest}`]) {
      const reference = parseReference(`${open.host}/${REPOSITORY}${suffix}`);
      const known = await client.resolveDigests(reference);
      expect(await client.isUnchanged(reference, known)).toBe(true);
      const moved = { ...known, targetDigest: image.arm64.digest };
      expect(await client.isUnchanged(reference, moved)).toBe(false);
    }
  });

  const skopeoTest = missingTool('skopeo') ? test.skip : test;

  skopeoTest('gives what skopeo pushes: an index of two platforms, with gzip and with zstd layers', async () => {
    const directory = await fixture.directory();
    const client = fixture.client();
    for (const compression of ['gzip', 'zstd'] as const) {
      // Others each time: skopeo takes a compressed layer that it has pushed before for the plain one.
      const tars = [
        await tarOf({ 'etc/motd': Buffer.concat([random(50), Buffer.alloc(300_000, 'x')]) }),
        await tarOf({ 'etc/issue': random(50_000) }),
      ];
      // Skopeo compresses layers that are plain, and leaves others as they are.
      const images = ['amd64', 'arm64'].map((architecture) => layoutImage(architecture, tars, 'none'));
      const index = Buffer.from(
        JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: images.map(({ entry }) => entry) }),
      );
      const entry = { mediaType: OCI_INDEX, digest: sha256(index), size: index.length };
      const files = Object.assign({}, ...images.map((each) => each.files), { [blobName(index)]: index });
      await writeFiles(join(directory, compression), layout([named(entry, '1')], files));
      const target = `${open.host}/pushed/${compression}:1`;
      const options = ['--insecure-policy', 'copy', '-q', '--all', '--dest-tls-verify=false'];
      const format = ['--dest-compress-format', compression];
      await run('skopeo', [...options, ...format, `oci:${join(directory, compression)}:1`, `docker://${target}`]);
      const reference = parseReference(target);
      for (const architecture of ['amd64', 'arm64']) {
        const platform = parsePlatform(architecture);
        const resolved = await client.resolve(reference, { platform });
        expect(resolved.platform).toEqual(platform);
        expect(resolved.targetDigest).not.toBe(resolved.manifestDigest);
        expect(resolved.layers.map((layer) => [layer.compression, layer.diffId])).toEqual(
          tars.map((tar) => [compression, sha256(tar)]),
        );
        for (const { descriptor } of resolved.layers) {
          const path = join(directory, descriptor.digest);
          await client.download(reference, descriptor, path);
          expect(sha256(await readFile(path))).toBe(descriptor.digest);
        }
      }
    }
  });

  test('goes on with a layer where a broken connection left off, and where another process did', async () => {
    const relay = await startCuttingRelay(open.port, 600_000, 3);
    try {
      const client = fixture.client();
      const reference = parseReference(`${relay.host}/${REPOSITORY}`);
      const { layers } = await client.resolve(reference, { platform: parsePlatform('amd64') });
      const [layer] = layers;
      if (layer === undefined) throw new Error('the image has no layers');
      const path = join(await fixture.directory(), 'blob');
      const blob = image.gzip[0]?.blob ?? Buffer.alloc(0);
      const steps: number[] = [];
      await client.download(reference, layer.descriptor, path, { onBytes: (bytes) => steps.push(bytes) });
      await expectContents(path, blob);
      expect(relay.cuts()).toBe(3);
      expect(steps).toEqual([...steps].sort((a, b) => a - b));
      await truncate(path, 1_999_999);
      await client.download(reference, layer.descriptor, path);
      await expectContents(path, blob);
    } finally {
      await relay.close();
    }
  });

  test('does not have what it does not have', async () => {
    const client = fixture.client();
    for (const name of [`${REPOSITORY}:none`, 'team/none', `${REPOSITORY}@sha256:${'0'.repeat(64)}`]) {
      const error = await failure(client.resolve(parseReference(`${open.host}/${name}`)));
      expect(error).toMatchObject({ code: 'manifest_unknown', status: 404, retryable: false });
      expect(error.registryCode).toMatch(/^(MANIFEST|NAME)_UNKNOWN$/);
    }
  });

  test('asks for a password', async () => {
    const registry = await start({ htpasswd: ALICE });
    const { index, amd64, gzip } = await push(registry);
    const client = fixture.client();
    const reference = parseReference(`${registry.host}/${REPOSITORY}`);
    const options = { platform: parsePlatform('amd64') };
    for (const credentials of [undefined, parseAuthFlag('alice:wrong')]) {
      expect(await failure(client.resolve(reference, { ...options, credentials }))).toMatchObject({
        code: 'unauthorized',
        status: 401,
        registryCode: 'UNAUTHORIZED',
      });
    }
    const credentials = parseAuthFlag('alice:s3cret-pass');
    const { layers, ...resolved } = await client.resolve(reference, { ...options, credentials });
    expect(resolved).toMatchObject({ manifestDigest: amd64.digest, targetDigest: index.digest });
    const path = join(await fixture.directory(), 'blob');
    for (const { descriptor } of layers.slice(0, 1))
      await client.download(reference, descriptor, path, { credentials });
    await expectContents(path, gzip[0]?.blob ?? Buffer.alloc(0));
  });

  test('speaks TLS with a certificate of a private authority', async () => {
    const registry = await start({ tls: certificates });
    const { amd64 } = await push(registry);
    const reference = parseReference(`${registry.host}/${REPOSITORY}`);
    const options = { platform: parsePlatform('amd64') };
    expect(await failure(fixture.client().resolve(reference, options))).toMatchObject({ code: 'registry_unreachable' });
    const trusting = fixture.client({
      registries: { [registry.host]: { certificateAuthorities: [certificates.authority] } },
    });
    expect(await trusting.resolveDigests(reference, options)).toMatchObject({ manifestDigest: amd64.digest });
  });
});
