import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from '@jest/globals';
import { imageArchive } from '../../../test/support/archive.ts';
import { readArchiveNames } from '../index.ts';
import { tarOf } from './support/archive-file.ts';
import { failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();

async function namesOf(bytes: Buffer) {
  const path = join(await fixture.directory(), 'image.tar');
  await writeFile(path, bytes);
  return readArchiveNames(path, 'the archive');
}

const images = [
  { tags: ['app:1', 'app:latest'], tars: [random(1000)] },
  { tags: ['other:2'], tars: [random(1000)] },
];

test.each([
  ['docker-old', [['app:1', 'app:latest'], ['other:2']]],
  [
    'docker',
    [
      ['docker.io/library/app:1', '1', 'docker.io/library/app:latest', 'latest'],
      ['docker.io/library/other:2', '2'],
    ],
  ],
  ['oci', [['1', 'latest'], ['2']]],
] as const)('of each image all its names (%s)', async (layout, names) => {
  expect(await namesOf(await imageArchive(layout, images))).toEqual(names);
});

test('what is longer than a reference is no name, and more names than tools write are refused', async () => {
  const long = 'a'.repeat(1025);
  for (const layout of ['docker-old', 'oci'] as const)
    expect(await namesOf(await imageArchive(layout, [{ tags: [`app:${long}`], tars: [random(10)] }]))).toEqual([[]]);
  const tags = Array.from({ length: 10_001 }, (_, index) => `app:${index}`);
  const many = await namesOf(await tarOf({ 'manifest.json': [{ Config: '', RepoTags: tags }] })).catch(String);
  expect(many).toContain('manifest.json of the archive is invalid: has more than 10000 names');
});

test('an image without a name has none, and a compressed archive is not unpacked for them', async () => {
  const unnamed = await imageArchive('docker-old', [{ tags: [], tars: [random(10)] }]);
  expect(await namesOf(unnamed)).toEqual([[]]);
  expect(await failure(namesOf(gzipSync(unnamed)))).toMatchObject({ code: 'invalid_request' });
});

test('what is no archive is told as such', async () => {
  const whole = await imageArchive('docker', images);
  expect(await failure(namesOf(Buffer.from('no tar')))).toMatchObject({ code: 'layer_corrupt' });
  expect(await failure(namesOf(whole.subarray(0, 2000)))).toMatchObject({ code: 'layer_corrupt' });
  expect(await failure(namesOf(await tarOf({ 'a.txt': Buffer.from('a') })))).toMatchObject({ code: 'invalid_request' });
  const broken = await tarOf({ 'manifest.json': Buffer.from('{') });
  expect(await failure(namesOf(broken))).toMatchObject({ code: 'invalid_manifest' });
  expect(await failure(namesOf(Buffer.from('425a68393141', 'hex')))).toMatchObject({ code: 'invalid_request' });
});

test.each([
  [
    'index.json',
    { manifests: new Array(150_000).fill({}) },
    /^index.json of the archive is invalid: manifests.0.mediaType: /,
  ],
  ['manifest.json', [{ Config: 'c', RepoTags: new Array(150_000).fill(1) }], /: 0.RepoTags: is not a list of strings$/],
])('a %s of many entries that are none is refused at the first', async (name, content, message) => {
  const error = await failure(namesOf(await tarOf({ [name]: Buffer.from(JSON.stringify(content)) })));
  expect(error).toMatchObject({ code: 'invalid_manifest', message: expect.stringMatching(message) });
});
