import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { localSource } from '../transfer/local-source.ts';
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
    ['containers-storage:localhost/app:1', 'localhost/app:1'],
    ['docker-archive:image.tar', '--tar image.tar'],
    ['docker-archive:/some/image.tar:app:1', '--tar /some/image.tar --ref app:1'],
    ['oci-archive:image.tar:latest', '--tar image.tar --ref latest'],
    ['oci:./layout', '--tar ./layout'],
    ['oci:/some/layout:latest', '--tar /some/layout --ref latest'],
    ['dir:/some/folder', '--tar /some/folder'],
  ])('%s is imported as %s', (given, words) => {
    expect(localSource(given)?.command).toBe(`bhatti image import ${words}`);
  });

  test('a path of an archive that is there is one; what may be a reference is that', () => {
    expect(localSource(archive)?.command).toBe(`bhatti image import --tar ${archive}`);
    const references = ['python:3.12', 'ghcr.io/org/app', 'localhost/app:1', 'oci:latest', 'dir:3', 'docker-daemon:'];
    for (const other of [...references, `${archive}.gz`, './nothing.tar', '']) {
      expect(localSource(other)).toBeUndefined();
    }
  });

  test.each([
    ['pull', 'invalid_reference', 'an image of a registry'],
    ['import', 'invalid_request', 'an image of the local Docker'],
  ])('%s says what to use instead, and asks no server', async (word, code, wanted) => {
    const env = cleanEnvironment(directory, { BHATTI_URL: 'http://127.0.0.1:1' });
    expect(await runHere(['image', word, archive], { env, directory })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr:
        `error: ${wanted} is wanted, and ${archive} is a path (${code})\n` +
        `Did you mean bhatti image import --tar ${archive}?\n`,
    });
  });
});
