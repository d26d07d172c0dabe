/** The commands of docs/operating.md for backup and restore, run as they stand there. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openStore } from '@bhatti/store';
import { loadSecretKey } from '@bhatti/tasks';
import { expect, test } from '@jest/globals';

const execute = promisify(execFile);

async function command(start: string): Promise<string> {
  const text = await readFile(new URL('../docs/operating.md', import.meta.url), 'utf8');
  return text.split('\n').find((line) => line.startsWith(start)) ?? '';
}

test('a restored backup has the images, holes and key, and nothing that was being made', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-backup-'));
  try {
    const from = await openStore(join(directory, 'from'));
    const key = await loadSecretKey({ path: from.paths.secretKeyFile, env: {} });
    const rootfsKey = 'a'.repeat(64);
    const publication = await from.rootfs.begin(rootfsKey);
    const file = await open(publication.path, 'w');
    await file.truncate(512 * 1024 * 1024);
    await file.write('the end', 512 * 1024 * 1024 - 7);
    await file.close();
    const image = {
      name: 'kept',
      rootfsKey,
      reference: 'docker.io/library/kept:1',
      manifestDigest: `sha256:${'b'.repeat(64)}`,
      platform: 'linux/amd64',
      sizeBytes: 512 * 1024 * 1024,
      allocatedBytes: 4096,
      createdAt: '2026-01-02T03:04:05.000Z',
      config: {},
      warnings: [],
    };
    await publication.writeRecord(image);
    await publication.publish();
    await from.images.put('local', image);
    await from.rootfs.begin('c'.repeat(64));
    await writeFile(from.partials.path(`sha256:${'d'.repeat(64)}`), 'half');

    const restored = join(directory, 'restored');
    await mkdir(restored, { mode: 0o700 });
    const backup = join(directory, 'backup.tar');
    const run = async (start: string, dataDirectory: string) =>
      execute('/bin/sh', ['-c', await command(start)], {
        env: { ...process.env, BACKUP: backup, BHATTI_DATA_DIR: dataDirectory },
      });
    await run('tar --create', from.directory);
    await run('tar --extract', restored);

    const to = await openStore(restored);
    expect(await to.images.list('local')).toEqual(await from.images.list('local'));
    const { size, blocks } = await stat(to.rootfs.path(rootfsKey));
    expect([size, blocks * 512 < 1024 * 1024]).toEqual([512 * 1024 * 1024, true]);
    expect((await loadSecretKey({ path: to.paths.secretKeyFile, env: {} })).equals(key)).toBe(true);
    expect((await stat(to.paths.secretKeyFile)).mode & 0o777).toBe(0o600);
    const { stdout } = await execute('find', [restored]);
    expect(stdout).not.toMatch(/tmp~|unsynced|d{64}/);
  } finally {
    await rm(directory, { recursive: true });
  }
});
