import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from '@jest/globals';
import { pack } from 'tar-stream';
import {
  hostArchitecture,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
  sha256,
  zstdFrame,
} from '../../../test/support/registry.ts';
import { type ImageArchive, openArchive, parsePlatform } from '../index.ts';
import { expectContents, failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();
const opened: ImageArchive[] = [];
afterEach(async () => {
  for (const archive of opened.splice(0)) await archive.close();
});

type Content = string | Buffer | object;
interface Link {
  readonly to: string;
  readonly type: 'link' | 'symlink';
}
type Files = Readonly<Record<string, Content>>;

const bytesOf = (content: Content): Buffer =>
  Buffer.isBuffer(content) ? content : Buffer.from(typeof content === 'string' ? content : JSON.stringify(content));

async function tarOf(files: Files, links: Readonly<Record<string, Link>> = {}): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) {
    // Tar-stream writes a pax header where the name needs one.
    if (name.endsWith('/')) tar.entry({ name, type: 'directory' });
    else tar.entry({ name }, bytesOf(content));
  }
  for (const [name, { to, type }] of Object.entries(links)) tar.entry({ name, type, linkname: to });
  tar.finalize();
  return buffer(tar);
}

async function openBytes(bytes: Buffer): Promise<{ archive: ImageArchive; directory: string }> {
  const directory = await fixture.directory();
  const path = join(directory, 'image.tar');
  await writeFile(path, bytes);
  const archive = await openArchive(path, { scratchDirectory: directory });
  opened.push(archive);
  return { archive, directory };
}

const refusal = (bytes: Buffer) => failure(openBytes(bytes));

/** The layers of the image for the platform come out as they went in. */
async function expectLayers(
  { archive, directory }: { archive: ImageArchive; directory: string },
  blobs: readonly Buffer[],
  selection: Parameters<ImageArchive['resolve']>[0] = {},
) {
  const image = await archive.resolve(selection);
  expect(image.layers.map(({ descriptor }) => descriptor.size)).toEqual(blobs.map(({ length }) => length));
  for (const [position, { descriptor }] of image.layers.entries()) {
    const path = join(directory, `layer-${position}`);
    const steps: number[] = [];
    await archive.extract(descriptor.digest, path, { onBytes: (bytes) => steps.push(bytes) });
    await expectContents(path, blobs[position] ?? Buffer.alloc(0));
    expect(steps.at(-1)).toBe(descriptor.size);
    expect(sha256(blobs[position] ?? '')).toBe(descriptor.digest);
  }
  return image;
}

const configOf = (tars: readonly Buffer[], architecture = hostArchitecture()) => ({
  os: 'linux',
  architecture,
  config: { Cmd: ['/bin/sh'], Env: ['A=1'] },
  rootfs: { type: 'layers', diff_ids: tars.map(sha256) },
});

/** As `docker save` wrote until 25: a folder a layer. */
function dockerSave(tags: readonly string[] | null, tars: readonly Buffer[], first = 0): Files {
  const config = bytesOf(configOf(tars));
  const name = `${sha256(config).slice(7)}.json`;
  const layers = tars.map((_, position) => `${String(first + position).repeat(64)}/layer.tar`);
  return {
    ...Object.fromEntries(layers.map((layer, position) => [layer, tars[position] ?? ''])),
    ...Object.fromEntries(layers.map((layer) => [`${dirname(layer)}/VERSION`, '1.0'])),
    [name]: config,
    'manifest.json': [{ Config: name, RepoTags: tags, Layers: layers }],
    repositories: {},
  };
}

interface LayoutImage {
  readonly files: Files;
  readonly entry: { readonly mediaType: string; readonly digest: string; readonly size: number } & Record<
    string,
    unknown
  >;
  readonly blobs: readonly Buffer[];
}

const blobName = (bytes: Buffer): string => `blobs/${sha256(bytes).replace(':', '/')}`;

function layoutImage(architecture: string, tars: readonly Buffer[], compress = gzipSync): LayoutImage {
  const blobs = tars.map((tar) => compress(tar));
  const config = bytesOf(configOf(tars, architecture));
  const manifest = bytesOf({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: sha256(config), size: config.length },
    layers: blobs.map((blob) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      digest: sha256(blob),
      size: blob.length,
    })),
  });
  return {
    blobs,
    files: Object.fromEntries([config, manifest, ...blobs].map((bytes) => [blobName(bytes), bytes])),
    entry: {
      mediaType: OCI_MANIFEST,
      digest: sha256(manifest),
      size: manifest.length,
      platform: { os: 'linux', architecture },
    },
  };
}

const layout = (entries: readonly object[], ...files: Files[]): Files => ({
  'oci-layout': { imageLayoutVersion: '1.0.0' },
  'index.json': { schemaVersion: 2, manifests: entries },
  ...Object.assign({}, ...files),
});
const named = (entry: object, name: string, key = 'org.opencontainers.image.ref.name'): object => ({
  ...entry,
  annotations: { [key]: name },
});

describe('docker save', () => {
  const tars = [random(5000), random(100), random(0)];

  test('an image with its layers', async () => {
    const { archive, directory } = await openBytes(await tarOf(dockerSave(['alpine:3.20'], tars)));
    expect(archive.images.map(({ names }) => names)).toEqual([['alpine:3.20']]);
    const image = await expectLayers({ archive, directory }, tars);
    expect(image).toMatchObject({
      names: ['alpine:3.20'],
      platform: { os: 'linux', architecture: hostArchitecture() },
      config: { cmd: ['/bin/sh'], env: ['A=1'] },
    });
    expect(image.layers.map(({ diffId, compression }) => [diffId, compression])).toEqual(
      tars.map((tar) => [sha256(tar), 'none']),
    );
  });

  test('the same archive gives the same digest, whatever its order and compression', async () => {
    const files = dockerSave(['alpine:3.20'], tars);
    const other = await tarOf(Object.fromEntries(Object.entries(files).reverse()));
    const digests = [];
    for (const bytes of [await tarOf(files), other, gzipSync(other), zstdFrame(other)]) {
      const { archive } = await openBytes(bytes);
      digests.push((await archive.resolve()).manifestDigest);
    }
    expect(new Set(digests).size).toBe(1);
  });

  test('layers that are links to others, as old versions wrote them', async () => {
    const [one = Buffer.alloc(0)] = tars;
    for (const link of [
      { to: `../${'0'.repeat(64)}/layer.tar`, type: 'symlink' },
      { to: `${'0'.repeat(64)}/layer.tar`, type: 'link' },
    ] as const) {
      const { [`${'1'.repeat(64)}/layer.tar`]: _, ...files } = dockerSave(null, [one, one]);
      const tar = await tarOf(files, { [`${'1'.repeat(64)}/layer.tar`]: link });
      await expectLayers(await openBytes(tar), [one, one]);
    }
  });

  test('compressed layers', async () => {
    const [one = Buffer.alloc(0)] = tars;
    for (const [compressed, compression] of [
      [gzipSync(one), 'gzip'],
      [zstdFrame(one), 'zstd'],
    ] as const) {
      const files = { ...dockerSave(null, [one]), [`${'0'.repeat(64)}/layer.tar`]: compressed };
      const image = await expectLayers(await openBytes(await tarOf(files)), [compressed]);
      expect(image.layers).toMatchObject([{ compression, diffId: sha256(one) }]);
    }
  });

  test('names that are too long for a header', async () => {
    const [one = Buffer.alloc(0)] = tars;
    const long = `${'directory/'.repeat(40)}layer.tar`;
    const files = dockerSave(null, [one]);
    const config = Object.keys(files).find((name) => /^[0-9a-f]{64}\.json$/.test(name)) ?? '';
    const manifest = [{ Config: config, RepoTags: null, Layers: [long] }];
    const tar = await tarOf({ './': '', [config]: files[config] ?? '', [long]: one, './manifest.json': manifest });
    await expectLayers(await openBytes(tar), [one]);
  });

  test('several images: one is picked by its name', async () => {
    const one = dockerSave(['alpine:3.20', 'alpine:latest'], [random(10)]);
    const two = dockerSave(['ghcr.io/team/app:1'], tars, 1);
    const manifest = [one, two].flatMap((files) => files['manifest.json']);
    const files = { ...one, ...two, 'manifest.json': manifest };
    const { archive, directory } = await openBytes(await tarOf(files));
    const error = await failure(archive.resolve());
    expect(error).toMatchObject({ code: 'invalid_request' });
    expect(error.message).toContain('holds several images; choose one: alpine:3.20, ghcr.io/team/app:1');
    await expectLayers({ archive, directory }, tars, { name: 'ghcr.io/team/app:1' });
    for (const name of ['alpine:3.20', 'docker.io/library/alpine:3.20', 'alpine']) {
      expect((await archive.resolve({ name })).names).toContain('alpine:3.20');
    }
    expect(await failure(archive.resolve({ name: 'debian' }))).toMatchObject({
      code: 'manifest_unknown',
      message: expect.stringContaining('holds no image called debian; it holds alpine:3.20, ghcr.io/team/app:1'),
    });
  });

  test('a layer that is not there', async () => {
    const { [`${'0'.repeat(64)}/layer.tar`]: _, ...files } = dockerSave(null, tars);
    expect(await refusal(await tarOf(files))).toMatchObject({ code: 'invalid_manifest' });
  });
});

describe('an OCI layout', () => {
  const one = layoutImage('amd64', [random(3000), random(10)]);
  const two = layoutImage('arm64', [random(500)]);
  const on = (architecture: string) => ({ platform: parsePlatform(architecture) });

  test('as a tar and as a folder', async () => {
    const files = layout([named(one.entry, '3.20')], one.files);
    const image = await expectLayers(await openBytes(await tarOf(files)), one.blobs, on('amd64'));
    expect(image).toMatchObject({ names: ['3.20'], manifestDigest: one.entry.digest, targetDigest: one.entry.digest });

    const directory = await fixture.directory();
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(directory, 'layout', name)), { recursive: true });
      await writeFile(join(directory, 'layout', name), bytesOf(content));
    }
    const archive = await openArchive(join(directory, 'layout'), { scratchDirectory: directory });
    opened.push(archive);
    await expectLayers({ archive, directory }, one.blobs, on('amd64'));
  });

  test('of several platforms, side by side or in an index', async () => {
    const index = bytesOf({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [one.entry, two.entry] });
    const entry = { mediaType: OCI_INDEX, digest: sha256(index), size: index.length };
    for (const files of [
      layout([one.entry, two.entry], one.files, two.files),
      layout([named(entry, 'latest')], { [blobName(index)]: index }, one.files, two.files),
    ]) {
      const archive = await openBytes(await tarOf(files));
      await expectLayers(archive, one.blobs, on('amd64'));
      await expectLayers(archive, two.blobs, on('arm64'));
      const error = await failure(archive.archive.resolve(on('s390x')));
      expect(error.code).toBe('platform_not_found');
      expect(error.message).toContain('it is available for linux/amd64, linux/arm64');
    }
  });

  test('which holds one of its platforms only, as Docker saves what it has', async () => {
    const { archive, directory } = await openBytes(await tarOf(layout([one.entry, two.entry], one.files)));
    await expectLayers({ archive, directory }, one.blobs, on('amd64'));
    expect(await failure(archive.resolve(on('arm64')))).toMatchObject({ code: 'invalid_manifest' });
  });

  test('of several images: by full name, by short name, by tag', async () => {
    const key = 'io.containerd.image.name';
    const files = layout(
      [named(one.entry, 'docker.io/library/alpine:3.20', key), named(two.entry, 'edge')],
      one.files,
      two.files,
    );
    const archive = await openBytes(await tarOf(files));
    for (const name of ['docker.io/library/alpine:3.20', 'alpine:3.20', '3.20']) {
      await expectLayers(archive, one.blobs, { name, ...on('amd64') });
    }
    await expectLayers(archive, two.blobs, { name: 'alpine:edge', ...on('arm64') });
    expect(await failure(archive.archive.resolve())).toMatchObject({ code: 'invalid_request' });
  });

  test('comes before the other, where Docker wrote both', async () => {
    const files = { ...dockerSave(null, [random(9)]), ...layout([one.entry], one.files) };
    const { archive } = await openBytes(await tarOf(files));
    expect((await archive.resolve(on('amd64'))).manifestDigest).toBe(one.entry.digest);
  });

  test('with a manifest or a config that was changed', async () => {
    for (const blob of Object.keys(one.files).slice(0, 2)) {
      const changed = Buffer.from(
        bytesOf(one.files[blob] ?? '')
          .toString()
          .replace('linux', 'lunix')
          .replace('schema', 'schemb'),
      );
      const { archive } = await openBytes(await tarOf(layout([one.entry], { ...one.files, [blob]: changed })));
      expect(await failure(archive.resolve(on('amd64')))).toMatchObject({ code: 'digest_mismatch' });
    }
  });
});

describe('what is no archive', () => {
  test('is told, and leaves nothing behind', async () => {
    const good = await tarOf(dockerSave(null, [random(100_000)]));
    for (const [bytes, code, reason] of [
      [Buffer.alloc(0), 'layer_corrupt', 'is empty'],
      [Buffer.alloc(4096), 'layer_corrupt', 'is empty'],
      [Buffer.from('hello'), 'layer_corrupt', 'is no tar'],
      [random(10_000), 'layer_corrupt', 'is no tar'],
      [good.subarray(0, 60_000), 'layer_corrupt', 'is cut short'],
      [gzipSync(good).subarray(0, 60_000), 'layer_corrupt', 'ends badly'],
      [zstdFrame(good).subarray(0, 60_000), 'layer_corrupt', 'ends badly'],
      [await tarOf({ 'etc/passwd': 'x' }), 'invalid_request', 'neither an index.json (OCI) nor a manifest.json'],
      [Buffer.from('fd377a585a0000', 'hex'), 'invalid_request', 'is xz'],
      [Buffer.from('504b030400', 'hex'), 'invalid_request', 'is a zip archive'],
      [await tarOf({ 'manifest.json': '{' }), 'invalid_manifest', 'is no JSON'],
      [await tarOf({ 'manifest.json': '{}' }), 'invalid_manifest', 'manifest.json'],
      [await tarOf({ 'index.json': '{"manifests": 1}' }), 'invalid_manifest', 'index.json'],
    ] as const) {
      const directory = await fixture.directory();
      const path = join(directory, 'image.tar');
      await writeFile(path, bytes);
      const error = await failure(openArchive(path, { scratchDirectory: directory }));
      expect(error.message).toContain(reason);
      expect(error.code).toBe(code);
      expect(await readdir(directory)).toEqual(['image.tar']);
    }
  });

  test('a file that is not there', async () => {
    const path = join(await fixture.directory(), 'nope.tar');
    expect((await failure(openArchive(path, { scratchDirectory: dirname(path) }))).message).toContain('no such file');
  });

  test('links in a circle, and names that climb out, find nothing', async () => {
    const tar = await tarOf(
      {},
      {
        'manifest.json': { to: 'index.json', type: 'symlink' },
        'index.json': { to: 'manifest.json', type: 'symlink' },
      },
    );
    expect(await refusal(tar)).toMatchObject({ code: 'invalid_request' });
    const climbing = [{ Config: '../../../../etc/passwd', Layers: [] }];
    expect(await refusal(await tarOf({ 'manifest.json': climbing }))).toMatchObject({ code: 'invalid_manifest' });
  });

  test('a compressed archive is unpacked to the scratch folder, and gone when it is closed', async () => {
    const directory = await fixture.directory();
    const path = join(directory, 'image.tar.gz');
    await writeFile(path, gzipSync(await tarOf(dockerSave(null, [random(10)]))));
    const archive = await openArchive(path, { scratchDirectory: directory });
    expect(await readdir(directory)).toHaveLength(2);
    await archive.close();
    expect(await readdir(directory)).toEqual(['image.tar.gz']);
  });

  test('cancelling', async () => {
    const directory = await fixture.directory();
    const path = join(directory, 'image.tar.gz');
    await writeFile(path, gzipSync(await tarOf(dockerSave(null, [random(10)]))));
    const signal = AbortSignal.abort();
    const error = await failure(openArchive(path, { scratchDirectory: directory, signal }));
    expect(error).toMatchObject({ code: 'cancelled' });
    expect(await readdir(directory)).toEqual(['image.tar.gz']);
  });
});
