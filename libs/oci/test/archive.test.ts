import { execFileSync } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from '@jest/globals';
import { hostArchitecture, OCI_INDEX, sha256, zstdFrame } from '../../../test/support/registry.ts';
import { type ArchiveLimits, type ImageArchive, OciError, openArchive, parsePlatform } from '../index.ts';
import {
  blobName,
  bytesOf,
  configOf,
  dockerSave,
  layout,
  layoutImage,
  named,
  rawEntry,
  tarOf,
  writeFiles,
} from './support/archive-file.ts';
import { expectContents, failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();
const opened: ImageArchive[] = [];
afterEach(async () => {
  for (const archive of opened.splice(0)) await archive.close();
});

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

  test('entries as GNU tar writes them, and records for all of them, which name none', async () => {
    const [one = Buffer.alloc(0)] = tars;
    const [long, link] = ['directory/'.repeat(12), 'beside/'.repeat(20)].map((folder) => `${folder}layer.tar`);
    const config = bytesOf(configOf([one, one]));
    const manifest = bytesOf([{ Config: 'config', RepoTags: null, Layers: [long, link] }]);
    // Base 256, which is for more bytes than twelve digits hold.
    const size = Buffer.alloc(12);
    size.writeUInt32BE(one.length, 8);
    size[0] = 0x80;
    const text = (name: string | undefined) => Buffer.from(`${name}\0`);
    const tar = Buffer.concat([
      rawEntry('g', 'pax_global_header', Buffer.from('15 path=global\n15 size=9999999\n')),
      rawEntry('L', '././@LongLink', text(long)),
      rawEntry('0', 'cut', one, size),
      rawEntry('L', '././@LongLink', text(link)),
      rawEntry('K', '././@LongLink', text(long)),
      rawEntry('1', 'cut', Buffer.alloc(0), undefined, 'cut'),
      rawEntry('7', 'config', config),
      rawEntry('\0', 'manifest.json', manifest),
    ]);
    await expectLayers(await openBytes(tar), [one, one]);
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

  test.each([
    ['app', 'localhost/app:latest'],
    ['app:1', 'quay.io/team/app:1'],
    ['team/app:1', 'quay.io/team/app:1'],
  ])('%s without a registry is short for %s', async (name, full) => {
    const names = ['localhost/app:latest', 'quay.io/team/app:1', 'ghcr.io/team/myapp:1'];
    const saved = names.map((each, seed) => dockerSave([each], [random(10 + seed)], seed));
    const files = Object.assign({}, ...saved, { 'manifest.json': saved.flatMap((each) => each['manifest.json']) });
    const { archive } = await openBytes(await tarOf(files));
    expect((await archive.resolve({ name })).names).toEqual([full]);
    for (const other of [
      'pp:1',
      'app:2',
      'docker.io/library/app',
      'index.docker.io/app',
      'ghcr.io/team/app:1',
      'library/app',
    ])
      expect(await failure(archive.resolve({ name: other }))).toMatchObject({ code: 'manifest_unknown' });
  });

  test('a full name comes before one that ends so; several that end so name none', async () => {
    const names = ['localhost/app:1', 'app:1', 'a.example/tool:1', 'b.example/tool:1'];
    const saved = names.map((each, seed) => dockerSave([each], [random(10 + seed)], seed));
    const files = Object.assign({}, ...saved, { 'manifest.json': saved.flatMap((each) => each['manifest.json']) });
    const { archive } = await openBytes(await tarOf(files));
    expect((await archive.resolve({ name: 'app:1' })).names).toEqual(['app:1']);
    expect(await failure(archive.resolve({ name: 'tool:1' }))).toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('called tool:1; choose one: a.example/tool:1, b.example/tool:1'),
    });
  });

  test('several images without names are told apart by their digests', async () => {
    const one = dockerSave(null, [random(10)]);
    const two = dockerSave(null, tars, 1);
    const files = { ...one, ...two, 'manifest.json': [one, two].flatMap((each) => each['manifest.json']) };
    const { archive } = await openBytes(await tarOf(files));
    const { message } = await failure(archive.resolve());
    const digests = message.match(/sha256:[0-9a-f]{64}/g) ?? [];
    expect(message).toContain('holds several images; choose one: sha256:');
    const counts = [];
    for (const name of digests) counts.push((await archive.resolve({ name })).layers.length);
    expect(counts.sort()).toEqual([1, 3]);
  });

  test('a tag that several images have names none of them', async () => {
    const one = dockerSave(['alpine:3.20'], [random(10)]);
    const two = dockerSave(['python:3.20'], tars, 1);
    const files = { ...one, ...two, 'manifest.json': [one, two].flatMap((each) => each['manifest.json']) };
    const { archive } = await openBytes(await tarOf(files));
    expect(await failure(archive.resolve({ name: '3.20' }))).toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('several images called 3.20; choose one: alpine:3.20, python:3.20'),
    });
  });

  test('unpacked to a folder: each layer stands for itself', async () => {
    const two = tars.slice(0, 2);
    const config = bytesOf(configOf(two));
    const directory = await fixture.directory();
    await writeFiles(join(directory, 'saved'), {
      ...Object.fromEntries([config, ...two].map((bytes) => [blobName(bytes), bytes])),
      'manifest.json': [{ Config: blobName(config), RepoTags: ['app:1'], Layers: two.map(blobName) }],
    });
    const archive = await openArchive(join(directory, 'saved'), { scratchDirectory: directory });
    opened.push(archive);
    await expectLayers({ archive, directory }, two);
  });

  test('a layer that is not there', async () => {
    const { [`${'0'.repeat(64)}/layer.tar`]: _, ...files } = dockerSave(null, tars);
    expect(await refusal(await tarOf(files))).toMatchObject({ code: 'invalid_manifest' });
  });
});

test('zeros behind a gzip archive are padding, however many; other bytes are not', async () => {
  const gzip = gzipSync(await tarOf(dockerSave(['alpine:3.20'], [random(100_000)])));
  for (const zeros of [1, 300_000]) {
    const padded = Buffer.concat([gzip, Buffer.alloc(zeros)]);
    expect((await openBytes(padded)).archive.images).toHaveLength(1);
    for (const other of [gzip, Buffer.from('x')]) {
      const error = await refusal(Buffer.concat([padded, other]));
      expect(error).toMatchObject({
        code: 'layer_corrupt',
        cause: { message: expect.stringContaining('other bytes') },
      });
    }
  }
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
    await writeFiles(join(directory, 'layout'), files);
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

  test('with a digest of an algorithm that is not known, which matters only for its own image', async () => {
    const unknown = { ...two.entry, digest: `blake3:${'0'.repeat(64)}` };
    const files = layout([named(one.entry, 'app:1'), named(unknown, 'app:2')], one.files);
    const archive = await openBytes(await tarOf(files));
    await expectLayers(archive, one.blobs, { name: 'app:1', ...on('amd64') });
    const error = await failure(archive.archive.resolve({ name: 'app:2', ...on('arm64') }));
    expect(error.code).toBe('invalid_manifest');
    expect(error.message).toMatch(/^the image "app:2" of .* cannot be checked here: the algorithm must be sha256 or/);

    const platforms = await openBytes(await tarOf(layout([one.entry, unknown], one.files)));
    await expectLayers(platforms, one.blobs, on('amd64'));
    expect(await failure(platforms.archive.resolve(on('arm64')))).toMatchObject({ code: 'invalid_manifest' });
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

  test('of images that have full names beside their tags, as Docker writes them: by the names, and a tag stands for none', async () => {
    const both = (entry: object, name: string) => ({
      ...entry,
      annotations: {
        'io.containerd.image.name': name,
        'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1),
      },
    });
    const other = layoutImage('amd64', [random(7)]);
    const entries = [both(other.entry, 'localhost/db:1'), both(one.entry, 'localhost/app:1')];
    const archive = await openBytes(await tarOf(layout(entries, one.files, other.files)));
    await expectLayers(archive, one.blobs, { name: 'app:1', ...on('amd64') });
    await expectLayers(archive, other.blobs, { name: 'db:1', ...on('amd64') });
    for (const name of ['quay.io/other/app:1', 'docker.io/library/app:1', 'web:1']) {
      expect(await failure(archive.archive.resolve({ name }))).toMatchObject({ code: 'manifest_unknown' });
    }
    expect(await failure(archive.archive.resolve({ name: '1' }))).toMatchObject({ code: 'invalid_request' });

    const bare = [named(other.entry, '1'), both(one.entry, 'localhost/app:1')];
    const mixed = await openBytes(await tarOf(layout(bare, one.files, other.files)));
    await expectLayers(mixed, one.blobs, { name: 'app:1', ...on('amd64') });
    await expectLayers(mixed, other.blobs, { name: 'db:1', ...on('amd64') });
  });

  test('comes before the other, where Docker wrote both', async () => {
    const files = { ...dockerSave(null, [random(9)]), ...layout([one.entry], one.files) };
    const { archive } = await openBytes(await tarOf(files));
    expect((await archive.resolve(on('amd64'))).manifestDigest).toBe(one.entry.digest);
  });

  test('of several images for one platform and without names: none is taken by chance', async () => {
    const other = layoutImage('amd64', [random(7)]);
    const archive = await openBytes(await tarOf(layout([one.entry, other.entry], one.files, other.files)));
    expect(await failure(archive.archive.resolve(on('amd64')))).toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(
        `choose one: ${[one, other]
          .map(({ entry }) => entry.digest)
          .sort()
          .join(', ')}`,
      ),
    });
    await expectLayers(archive, other.blobs, { name: other.entry.digest, ...on('amd64') });
    await expectLayers(archive, other.blobs, { name: `alpine@${other.entry.digest}`, ...on('amd64') });
  });

  test('under two names is one image', async () => {
    const files = layout(
      [named(one.entry, 'docker.io/library/app:1'), named(one.entry, 'docker.io/library/app:2')],
      one.files,
    );
    const image = await expectLayers(await openBytes(await tarOf(files)), one.blobs, on('amd64'));
    expect(image.names).toEqual(['docker.io/library/app:1', 'docker.io/library/app:2']);
  });

  test('without an image, as it is when made', async () => {
    for (const files of [layout([]), { 'index.json': { schemaVersion: 2, manifests: null } }]) {
      const { archive } = await openBytes(await tarOf(files));
      expect(await failure(archive.resolve())).toMatchObject({
        code: 'invalid_manifest',
        message: expect.stringContaining('holds no image'),
      });
    }
  });

  test('with a layer that is missing or cut is refused before any is unpacked', async () => {
    const [layer = Buffer.alloc(0)] = one.blobs;
    const { [blobName(layer)]: _, ...rest } = one.files;
    for (const [files, code, reason] of [
      [rest, 'invalid_manifest', 'which it names'],
      [{ ...rest, [blobName(layer)]: layer.subarray(1) }, 'size_mismatch', `${layer.length} are stated`],
    ] as const) {
      const { archive } = await openBytes(await tarOf(layout([one.entry], files)));
      const error = await failure(archive.resolve(on('amd64')));
      expect(error.code).toBe(code);
      expect(error.message).toContain(reason);
    }
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
    const longNamed = Buffer.concat([rawEntry('L', 'x', Buffer.alloc(4096, 'n')), rawEntry('0', 'x', Buffer.alloc(0))]);
    for (const [bytes, code, reason] of [
      [Buffer.alloc(0), 'layer_corrupt', 'is empty'],
      [Buffer.alloc(4096), 'layer_corrupt', 'is empty'],
      [Buffer.from('hello'), 'layer_corrupt', 'is not a tar'],
      [random(10_000), 'layer_corrupt', 'is not a tar'],
      [good.subarray(0, 60_000), 'layer_corrupt', 'is cut short'],
      [gzipSync(good).subarray(0, 60_000), 'layer_corrupt', 'ends badly'],
      [zstdFrame(good).subarray(0, 60_000), 'layer_corrupt', 'ends badly'],
      [await tarOf({ 'etc/passwd': 'x' }), 'invalid_request', 'neither an index.json (OCI) nor a manifest.json'],
      [Buffer.from('fd377a585a0000', 'hex'), 'invalid_request', 'is xz'],
      [Buffer.from('504b030400', 'hex'), 'invalid_request', 'is a zip archive'],
      [await tarOf({ 'manifest.json': '{' }), 'invalid_manifest', 'is not JSON'],
      [await tarOf({ 'manifest.json': '{}' }), 'invalid_manifest', 'manifest.json'],
      [await tarOf({ 'index.json': '{"manifests": 1}' }), 'invalid_manifest', 'index.json'],
      [await tarOf({ 'index.json': Buffer.alloc(4 * 1024 * 1024 + 1, ' ') }), 'invalid_manifest', 'larger than 4 MiB'],
      [
        await tarOf({ 'manifest.json': Buffer.alloc(4 * 1024 * 1024 + 1, ' ') }),
        'invalid_manifest',
        'larger than 4 MiB',
      ],
      [await tarOf({ 'manifest.json': { schemaVersion: 2 } }), 'invalid_request', 'what skopeo writes to `dir:`'],
      [
        await tarOf({ c: '{', 'manifest.json': [{ Config: 'c', Layers: [] }] }),
        'invalid_manifest',
        'the archive is damaged',
      ],
      [
        await tarOf({ 'manifest.json': [{ Config: 'c', Layers: new Array(2000).fill('c') }] }),
        'invalid_manifest',
        'manifest.json',
      ],
      [
        await tarOf({ 'manifest.json': new Array(2000).fill({ Config: 'c', Layers: [] }) }),
        'invalid_manifest',
        'manifest.json',
      ],
      [await tarOf({ [`${'d/'.repeat(3000)}x`]: 'x' }), 'layer_corrupt', 'a name that is too long'],
      [Buffer.concat(new Array(4200).fill(longNamed)), 'layer_corrupt', 'more than 16777216 characters of names'],
      [rawEntry('L', 'long', Buffer.alloc(2 ** 20 + 1)), 'layer_corrupt', 'attributes that are too long'],
      [rawEntry('S', 'sparse', Buffer.alloc(0)), 'layer_corrupt', 'sparse files'],
      [
        Buffer.concat([
          rawEntry('x', 'x', Buffer.from('22 GNU.sparse.major=1\n')),
          rawEntry('0', 'a', Buffer.alloc(0)),
        ]),
        'layer_corrupt',
        'sparse files',
      ],
      [
        Buffer.concat([rawEntry('x', 'x', Buffer.from('12 size=-10\n')), rawEntry('0', 'a', Buffer.alloc(0))]),
        'layer_corrupt',
        'is damaged',
      ],
      [rawEntry('0', 'a', Buffer.alloc(0), Buffer.from('00000000009')), 'layer_corrupt', 'is damaged'],
      [rawEntry('0', 'a', Buffer.alloc(0), Buffer.alloc(12, 0xff)), 'layer_corrupt', 'is damaged'],
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

  test('a file that the disk does not read is nobody’s request', async () => {
    const directory = await fixture.directory();
    // Nothing is mapped where its first bytes would be: EIO.
    const error = await failure(openArchive('/proc/self/mem', { scratchDirectory: directory }));
    expect(error).toMatchObject({ code: 'internal', cause: { code: 'EIO' } });
  });

  test('a pipe is not waited for', async () => {
    const directory = await fixture.directory();
    await mkdir(join(directory, 'layout'));
    for (const [pipe, path] of [
      [join(directory, 'pipe'), join(directory, 'pipe')],
      [join(directory, 'layout', 'index.json'), join(directory, 'layout')],
    ] as const) {
      execFileSync('mkfifo', [pipe]);
      const error = await failure(openArchive(path, { scratchDirectory: directory }));
      expect(error).toMatchObject({
        code: 'invalid_request',
        message: expect.stringContaining('is not a regular file'),
      });
    }
  });

  test('an archive cut anywhere is refused, or whole but for its padding', async () => {
    const good = await tarOf(dockerSave(['app:1'], [random(2000)]));
    // Not the zeros that end it, nor `repositories`, which nobody reads, nor the padding of what stands before.
    const needed = good.length - 1024 - 1024 - 511;
    for (const bytes of [good, gzipSync(good), zstdFrame(good)]) {
      for (let step = 0; step < 40; step += 1) {
        const cut = Math.floor((bytes.length * step) / 40);
        const result = await openBytes(bytes.subarray(0, cut)).then(
          () => 'opened',
          (error: unknown) => (error instanceof OciError ? error.code : String(error)),
        );
        if (result === 'opened') expect([bytes === good, cut >= needed]).toEqual([true, true]);
        else expect(['layer_corrupt', 'invalid_manifest', 'invalid_request']).toContain(result);
      }
    }
  });

  test('a compressed archive may unpack to so many bytes, and so many times its own', async () => {
    const directory = await fixture.directory();
    const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024));
    const file = async (bytes: Buffer) => {
      const path = join(directory, 'bomb.tar');
      await writeFile(path, bytes);
      return path;
    };
    const open = async (bytes: Buffer, limits: Partial<ArchiveLimits>) =>
      openArchive(await file(bytes), { scratchDirectory: directory, label: 'the archive', limits });
    for (const bytes of [bomb, zstdFrame(Buffer.alloc(8 * 1024 * 1024))]) {
      expect(await failure(open(bytes, { unpackedBytes: 4_000_000 }))).toMatchObject({
        code: 'archive_too_large',
        retryable: false,
        message: expect.stringContaining('the archive unpacks to more than 4000000 bytes'),
      });
      expect(await readdir(directory)).toEqual(['bomb.tar']);
    }
    // Zeros are 1,000 times as many, as deflate has them.
    expect(await failure(open(bomb, { expansionGrace: 1_000_000 }))).toMatchObject({ code: 'expansion_too_large' });
    expect(await failure(open(bomb, { expansionGrace: 1_000_000, expansionRatio: 2000 }))).toMatchObject({
      code: 'layer_corrupt',
    });
    expect(await readdir(directory)).toEqual(['bomb.tar']);
  });

  test.each([
    ['at once', '28b52ffd00a8'],
    ['in a later frame', '28b52ffd0058010000502a4d180300000001020328b52ffd00a8'],
  ])('a zstd archive that wants 2 GiB of memory is refused, %s', async (_when, hex) => {
    const directory = await fixture.directory();
    const path = join(directory, 'window.tar.zst');
    await writeFile(path, Buffer.concat([Buffer.from(hex, 'hex'), Buffer.alloc(100)]));
    expect(await failure(openArchive(path, { scratchDirectory: directory }))).toMatchObject({
      code: 'archive_too_large',
      message: expect.stringContaining('2048 MiB'),
    });
    expect(await readdir(directory)).toEqual(['window.tar.zst']);
  });

  test('a zstd bomb is unpacked piece by piece', async () => {
    const directory = await fixture.directory();
    const path = join(directory, 'bomb.tar.zst');
    // 2048 blocks that each stand for 128 KiB of zeros: 256 MiB in 8 KB (RFC 8878, 3.1.1.2: run-length blocks).
    const block = (last: number) =>
      Buffer.from([
        (((128 * 1024) << 3) | 2 | last) & 0xff,
        ((128 * 1024) >> 5) & 0xff,
        ((128 * 1024) >> 13) & 0xff,
        0,
      ]);
    await writeFile(
      path,
      Buffer.concat([Buffer.from('28b52ffd0058', 'hex'), ...new Array<Buffer>(2047).fill(block(0)), block(1)]),
    );
    let peak = 0;
    const before = process.memoryUsage.rss();
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss() - before);
    }, 5);
    try {
      expect(await failure(openArchive(path, { scratchDirectory: directory }))).toMatchObject({
        code: 'layer_corrupt',
      });
    } finally {
      clearInterval(timer);
    }
    expect(peak).toBeLessThan(160 * 1024 * 1024);
    expect(await readdir(directory)).toEqual(['bomb.tar.zst']);
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
