import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { fileLayer } from '../../../test/support/layer.ts';
import { events, serveAnswers } from './http-server.ts';

/** The package as people get it: packed, installed with npm into a folder of its own, and run from there, without network. */
const root = fileURLToPath(new URL('../../../', import.meta.url));
const run = promisify(execFile);
let directory: string;
let archive: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-packed-'));
  archive = (
    await run(join(root, 'node_modules/.bin/tsx'), ['scripts/package.ts', directory], { cwd: root })
  ).stdout.trim();
  const home = join(directory, 'home');
  await mkdir(home);
  // Offline, so that anything it needs from elsewhere fails here.
  await run('npm', ['install', '--global', '--offline', '--no-audit', '--no-fund', '--prefix', directory, archive], {
    env: { PATH: process.env.PATH, HOME: home },
  });
});
afterAll(() => rm(directory, { recursive: true }));

function bhatti(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  return run(join(directory, 'bin/bhatti'), args, {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: join(directory, 'home'), ...env },
  });
}

test('holds the program, its licences and nothing else, and is small', async () => {
  const { stdout } = await run('tar', ['-tzf', archive]);
  const files = stdout
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''));
  expect(files.filter((path) => !path.startsWith('node_modules/')).sort()).toEqual([
    'LICENSE',
    'README.md',
    'THIRD-PARTY-LICENSES',
    'bin/bhatti.js',
    'dist/cli.js',
    'dist/rootfs-thread.js',
    'dist/rootfs.js',
    'package.json',
  ]);
  expect(
    files.filter((path) => path.startsWith('node_modules/') && !path.startsWith('node_modules/tinypool/')),
  ).toEqual([]);
  expect((await stat(archive)).size).toBeLessThan(700_000);
});

test('tells its version and its help', async () => {
  expect((await bhatti(['version'])).stdout).toMatch(/^bhatti \d+\.\d+\.\d+\nserver none answers\n$/);
  expect((await bhatti(['--help'])).stdout).toContain('COMMANDS\n');
});

test('pulls against a server', async () => {
  const step = { phase: 'resolving', line: 'resolving manifest...' };
  const task = {
    id: 'tsk_a',
    type: 'pull',
    status: 'completed',
    name: 'py',
    ref: 'py',
    progress: step.line,
    detail: { steps: [step] },
    result: { image: 'py', digest: 'd' },
    error: null,
    created_at: null,
    started_at: null,
    completed_at: null,
  };
  const server = await serveAnswers(({ method }) =>
    method === 'POST' ? { status: 202, body: { task_id: 'tsk_a', status: 'queued', name: 'py' } } : events([task]),
  );
  const env = { BHATTI_URL: `http://127.0.0.1:${server.port}`, BHATTI_TOKEN: 't' };
  expect((await bhatti(['image', 'pull', 'py'], env)).stdout).toBe(
    'pulling py as "py" (task: tsk_a)\n  resolving manifest...\ndone\n',
  );
  await server.close();
});

test('has no server to start, and says where one is', async () => {
  for (const args of [['serve'], ['image', 'list']]) {
    await expect(bhatti(args)).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^error: this is the command line alone.*\(server_not_included\)\nName the server to use/,
      ),
    });
  }
});

test('builds root filesystems by itself', async () => {
  await writeFile(join(directory, 'base.tar'), (await fileLayer({ 'bin/sh': 'sh' })).tar);
  const { stdout } = await bhatti(['rootfs', 'build', 'base.tar', '-o', 'out.ext4']);
  expect(stdout).toContain('out.ext4: ');
  await run('e2fsck', ['-fn', join(directory, 'out.ext4')], { env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
});
