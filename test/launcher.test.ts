import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from '@jest/globals';

const launcher = join(dirname(fileURLToPath(import.meta.url)), '..', 'bhatti');
/** What the launcher runs; Redis is not among it. */
const TOOLS = ['bash', 'find', 'flock', 'grep'];

let checkout: string;
beforeEach(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'bhatti-launcher-'));
  for (const folder of ['apps', 'libs', 'scripts', 'node_modules', 'dist', 'bin']) await mkdir(join(checkout, folder));
  await copyFile(launcher, join(checkout, 'bhatti'));
  for (const name of ['package.json', 'package-lock.json', 'node_modules/.package-lock.json', 'dist/cli.js']) {
    await writeFile(join(checkout, name), name.endsWith('.json') ? '{}' : '');
  }
  // Says what it is asked to install, in place of doing that.
  await writeFile(join(checkout, 'scripts/setup.sh'), 'echo "$@"');
  await writeFile(join(checkout, 'node_modules/.bhatti-installed'), '');
  await writeFile(join(checkout, 'dist/.stamp'), '');
  for (const tool of TOOLS) {
    const { stdout } = await promisify(execFile)('sh', ['-c', `command -v ${tool}`]);
    await symlink(stdout.trim(), join(checkout, 'bin', tool));
  }
  await symlink(process.execPath, join(checkout, 'bin/node'));
});
afterEach(() => rm(checkout, { recursive: true }));

test.each([
  [['image', 'list'], true],
  [['--url', 'http://127.0.0.1:9', 'image', 'list'], false],
  [['--data-dir', 'data', 'image', 'list'], true],
  [['--url=http://127.0.0.1:9', '--data-dir=data', 'image', 'list'], false],
])('%j has what a local server needs installed: %j', async (args, isInstalled) => {
  expect((await asked(args)).includes('redis-server')).toBe(isInstalled);
});

test('a URL that is configured means another server, but for --data-dir', async () => {
  const env = { BHATTI_URL: 'http://127.0.0.1:9' };
  expect(await asked(['image', 'list'], env)).toBe('');
  expect(await asked(['--data-dir', 'data', 'image', 'list'], env)).toContain('redis-server');
  expect(await asked(['image', 'list', '--data-dir=data'], env)).toContain('redis-server');
});

/** What the setup is asked to install. */
async function asked(args: readonly string[], extra: NodeJS.ProcessEnv = {}): Promise<string> {
  const env = { PATH: join(checkout, 'bin'), HOME: checkout, BHATTI_CONFIG: join(checkout, 'none.yaml'), ...extra };
  const { stdout } = await promisify(execFile)('bash', [join(checkout, 'bhatti'), ...args], { env, cwd: checkout });
  return stdout;
}
