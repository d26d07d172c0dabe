/** Archives as skopeo and umoci write them today. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { sha256, zstdFrame } from '../../../test/support/registry.ts';
import { type ImageArchive, openArchive, parsePlatform } from '../index.ts';
import { layout, layoutImage, named, tarOf, writeFiles } from './support/archive-file.ts';
import { missingTool, useFixture } from './support/fixture.ts';

const run = promisify(execFile);
const fixture = useFixture();
const opened: ImageArchive[] = [];
afterEach(async () => {
  for (const archive of opened.splice(0)) await archive.close();
});

const skopeo = (...images: string[]) => run('skopeo', ['--insecure-policy', 'copy', '-q', ...images]);
const skopeoTest = missingTool('skopeo') ? test.skip : test;
const umociTest = missingTool('umoci') ? test.skip : test;
const platform = parsePlatform('linux/amd64');

describe('what the tools write', () => {
  let image: ReturnType<typeof layoutImage>;
  let tars: readonly Buffer[];
  beforeAll(async () => {
    tars = [await tarOf({ 'etc/motd': 'one' }), await tarOf({ 'etc/motd': 'two', 'etc/x': Buffer.alloc(40_000, 'x') })];
    image = layoutImage('amd64', tars);
  });

  async function source(directory: string): Promise<string> {
    await writeFiles(join(directory, 'source'), layout([named(image.entry, 'one')], image.files));
    return `oci:${join(directory, 'source')}:one`;
  }

  /** The layers of the image, as digests of what is in them and as that which was extracted. */
  async function expectImage(path: string, directory: string, name?: string): Promise<void> {
    const archive = await openArchive(path, { scratchDirectory: directory });
    opened.push(archive);
    const { layers } = await archive.resolve({ name, platform });
    expect(layers.map(({ diffId }) => diffId)).toEqual(tars.map(sha256));
    for (const { descriptor } of layers) {
      const copy = join(directory, 'layer');
      await archive.extract(descriptor.digest, copy);
      expect(
        `sha256:${createHash('sha256')
          .update(await readFile(copy))
          .digest('hex')}`,
      ).toBe(descriptor.digest);
    }
  }

  skopeoTest('docker-archive: plain, gzip, zstd', async () => {
    const directory = await fixture.directory();
    const path = join(directory, 'saved.tar');
    await skopeo(await source(directory), `docker-archive:${path}:app:1`);
    await expectImage(path, directory, 'app:1');
    const bytes = await readFile(path);
    for (const packed of [gzipSync(bytes), zstdFrame(bytes)]) {
      await writeFile(path, packed);
      await expectImage(path, directory, 'docker.io/library/app:1');
    }
  });

  skopeoTest('oci-archive: with a tag, a full name and none', async () => {
    const directory = await fixture.directory();
    for (const [position, name] of [':one', ':docker.io/library/app:1', ''].entries()) {
      const path = join(directory, `${position}.tar`);
      await skopeo(await source(directory), `oci-archive:${path}${name}`);
      await expectImage(path, directory, name === '' ? undefined : name.slice(1));
    }
  });

  skopeoTest('oci: several images in a folder', async () => {
    const directory = await fixture.directory();
    const other = layoutImage('amd64', [await tarOf({ other: 'image' })]);
    await writeFiles(join(directory, 'other'), layout([named(other.entry, 'other')], other.files));
    const path = join(directory, 'layout');
    await skopeo(await source(directory), `oci:${path}:one`);
    await skopeo(`oci:${join(directory, 'other')}:other`, `oci:${path}:other`);
    await expectImage(path, directory, 'one');
    await expect(expectImage(path, directory)).rejects.toThrow('choose one: one, other');
  });

  skopeoTest('dir: is refused with what to do', async () => {
    const directory = await fixture.directory();
    await skopeo(await source(directory), `dir:${join(directory, 'dir')}`);
    await expect(expectImage(join(directory, 'dir'), directory)).rejects.toThrow('what skopeo writes to `dir:`');
  });

  umociTest('umoci: a new layout, and a layer put into an image', async () => {
    const directory = await fixture.directory();
    const path = join(directory, 'layout');
    await run('umoci', ['init', '--layout', path]);
    const empty = await openArchive(path, { scratchDirectory: directory });
    opened.push(empty);
    await expect(empty.resolve()).rejects.toThrow('holds no image');
    await run('umoci', ['new', '--image', `${path}:1`]);
    await writeFile(join(directory, 'motd'), 'hello');
    await run('umoci', ['insert', '--rootless', '--image', `${path}:1`, join(directory, 'motd'), '/etc/motd']);
    const archive = await openArchive(path, { scratchDirectory: directory });
    opened.push(archive);
    const [layer] = (await archive.resolve({ name: '1' })).layers;
    expect(layer?.compression).toBe('gzip');
    await archive.extract(layer?.descriptor.digest ?? '', join(directory, 'layer'));
    expect(sha256(await readFile(join(directory, 'layer')))).toBe(layer?.descriptor.digest);
  });
});
