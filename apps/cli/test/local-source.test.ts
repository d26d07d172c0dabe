import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { localSource, sourceOfTransport } from '../transfer/local-source.ts';
import { runHere } from './command-line.ts';
import { cleanEnvironment } from './staged-cli.ts';

describe('what is given in the place of a reference', () => {
  let directory: string;
  let archive: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bhatti-source-'));
    archive = join(directory, 'image.tar');
    await writeFile(archive, '');
  });
  afterAll(() => rm(directory, { recursive: true }));

  test.each([
    ['-', '--tar -'],
    ['docker-daemon:app:1', 'app:1'],
    ['docker-archive:image.tar', '--tar image.tar'],
    ['docker-archive:/some/image:app:1', '--tar /some/image --ref app:1'],
    ['oci-archive:image.tar:latest', '--tar image.tar --ref latest'],
    ['oci-archive:image.tar:@0', '--tar image.tar'],
    ['oci:./layout', '--tar ./layout'],
    ['oci:/some/layout:latest', '--tar /some/layout --ref latest'],
    ['oci:layout:v1', '--tar layout --ref v1'],
    ["oci:./it's;$(id)", "--tar './it'\\''s;$(id)'"],
    ['oci:./two\nlines', '--tar FILE'],
  ])('%s is imported as %s', (given, words) => {
    expect(localSource(given)?.command).toBe(`bhatti image import ${words}`);
  });

  test('what the import does not take itself is given to it by the program that has it', () => {
    expect(localSource('containers-storage:localhost/app:1')?.command).toBe(
      'podman save localhost/app:1 | bhatti image import --tar - --ref localhost/app:1',
    );
    expect(localSource('dir:/some/a:b')?.command).toBe(
      'skopeo copy dir:/some/a:b oci:LAYOUT && bhatti image import --tar LAYOUT --name NAME',
    );
  });

  test('a path of an archive that is there is one; what may be a reference is that', () => {
    expect(localSource(archive)?.command).toBe(`bhatti image import --tar ${archive}`);
    const references = ['python:3.12', 'ghcr.io/org/app', 'localhost/app:1', 'docker-daemon:', 'oci:5000/app:1'];
    // Repositories that are called like a prefix.
    const repositories = ['oci', 'dir', 'oci-archive', 'docker-archive', 'docker-daemon', 'containers-storage'];
    const tagged = repositories.flatMap((repository) => [`${repository}:latest`, `${repository}:1.0`]);
    for (const other of [
      ...references,
      ...tagged,
      'containers-storage:[vfs@/a+/b]app',
      `${archive}.gz`,
      './nothing.tar',
      '',
    ]) {
      expect(localSource(other)).toBeUndefined();
    }
  });

  test('what can be no reference has no prefix that is a repository', () => {
    expect(sourceOfTransport('docker-archive:image')?.command).toBe('bhatti image import --tar image');
    expect(sourceOfTransport('oci:layout')?.command).toBe('bhatti image import --tar layout');
    expect(sourceOfTransport('docker-daemon:$(id)')?.command).toBe("bhatti image import '$(id)'");
    expect(sourceOfTransport('image.tar')).toBeUndefined();
  });

  test.each([
    ['pull', 'invalid_reference', 'image of a registry'],
    ['import', 'invalid_request', 'image of the local Docker'],
  ])('%s says what to use instead, and asks no server', async (word, code, wanted) => {
    const env = cleanEnvironment(directory, { BHATTI_URL: 'http://127.0.0.1:1' });
    expect(await runHere(['image', word, archive], { env, directory })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr:
        `error: ${archive} names no ${wanted}: it is a path (${code})\n` +
        `To import it: bhatti image import --tar ${archive}\n`,
    });
  });
});
