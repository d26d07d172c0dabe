import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { link, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { pack } from 'tar-stream';
import * as z from 'zod';
import { imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { fileLayer } from '../../../test/support/layer.ts';
import { zstdFrame } from '../../../test/support/registry.ts';
import { buildLocally } from '../rootfs/local-build.ts';
import type { BuildRequest } from '../rootfs/request.ts';
import { runHere } from './command-line.ts';
import { recordedConsole } from './recorded-console.ts';

const cli = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url));
const output = z.object({
  sha256: z.string(),
  size_bytes: z.number(),
  entries: z.number(),
  layers: z.array(z.string()),
  warnings: z.array(z.string()),
});
/** The tars, made once. */
let tars: string;
let directory: string;

beforeAll(async () => {
  tars = await mkdtemp(join(tmpdir(), 'bhatti-rootfs-tars-'));
  const base = await fileLayer({ 'bin/sh': 'sh', 'etc/name': 'base', 'etc/old': 'old' });
  const app = await fileLayer({ 'etc/name': 'app', 'etc/.wh.old': '' });
  await writeFile(join(tars, 'base.tar'), base.tar);
  await writeFile(join(tars, 'big.tar'), (await fileLayer({ big: Buffer.alloc(16 * 2 ** 20, 1) })).tar);
  await writeFile(join(tars, 'app.tar.gz'), gzipSync(app.tar));
  await writeFile(join(tars, 'agent.tar'), (await fileLayer({ 'sbin/agent': 'agent', 'etc/name': 'mine' })).tar);
});
afterAll(() => rm(tars, { recursive: true, force: true }));
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-rootfs-build-'));
  for (const name of await readdir(tars)) await link(join(tars, name), join(directory, name));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const environment = () => ({
  PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
  HOME: directory,
  TZ: 'Asia/Kolkata',
});

/** Runs a program in the directory, without a server. */
function run(file: string, ...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(file, args, { cwd: directory, env: environment() }, (error, stdout, stderr) => {
      resolve({ exitCode: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

/** Runs the command, which runs its program: two processes. */
const buildByCommand = (...args: string[]) => run(process.execPath, cli, 'rootfs', 'build', ...args);

/** Does what the program does, in this process. */
async function build(sources: readonly string[], name: string, { overlay, ...more }: Partial<BuildRequest> = {}) {
  const { console, out, err } = recordedConsole();
  const at = (path: string) => resolve(directory, path);
  const exitCode = await buildLocally(
    {
      sources: sources.map(at),
      output: at(name),
      ...(overlay !== undefined && { overlay: at(overlay) }),
      json: true,
      ...more,
    },
    { env: environment(), console, signal: new AbortController().signal },
  );
  return { exitCode, stdout: out(), stderr: err() };
}

const sizeBytes = 16 * 2 ** 20;
const contentOf = async (image: string, path: string) => (await run('debugfs', '-R', `cat ${path}`, image)).stdout;

test('builds tars, bottom first, with an overlay on top', async () => {
  const inputs = ['base.tar', 'app.tar.gz', '--overlay', 'agent.tar', '--size', '16MiB'];
  const built = await buildByCommand(...inputs, '-o', 'a.ext4', '--json');
  expect(built.stderr).toBe('');
  const result = output.parse(JSON.parse(built.stdout));
  const bytes = await readFile(join(directory, 'a.ext4'));
  expect(result).toMatchObject({ size_bytes: sizeBytes, warnings: [] });
  expect(result.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
  expect(result.layers).toHaveLength(3);
  expect(await contentOf('a.ext4', '/etc/name')).toBe('mine');
  expect(await contentOf('a.ext4', '/sbin/agent')).toBe('agent');
  expect((await run('debugfs', '-R', 'stat /etc/old', 'a.ext4')).stderr).toContain('not found');
  expect((await run('e2fsck', '-fn', 'a.ext4')).exitCode).toBe(0);
  await build(['base.tar', 'app.tar.gz'], 'b.ext4', { overlay: 'agent.tar', sizeBytes });
  expect((await readFile(join(directory, 'b.ext4'))).equals(bytes)).toBe(true);
});

test('takes a tar for what its first bytes say it is: zstd, gzip or plain give the same image', async () => {
  const app = gunzipSync(await readFile(join(directory, 'app.tar.gz')));
  await writeFile(join(directory, 'zstd'), zstdFrame(app));
  await writeFile(join(directory, 'plain'), app);
  const digests = new Set<string>();
  for (const name of ['zstd', 'plain', 'app.tar.gz']) {
    const built = await build(['base.tar', name], `${name}.ext4`, { sizeBytes });
    digests.add(output.parse(JSON.parse(built.stdout)).sha256);
  }
  expect(digests.size).toBe(1);
});

test('takes what docker save and skopeo write for the image that it is, not for a layer', async () => {
  const layer = await readFile(join(directory, 'base.tar'));
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const platform = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch };
  const config = Buffer.from(
    JSON.stringify({ ...platform, rootfs: { type: 'layers', diff_ids: [`sha256:${digest(layer)}`] } }),
  );
  const [configFile, layerFile] = [`${digest(config)}.json`, `${digest(Buffer.from('1'))}/layer.tar`];
  const list = JSON.stringify([{ Config: configFile, RepoTags: ['app:1'], Layers: [layerFile] }]);
  const { tar } = await fileLayer({ [layerFile]: layer, [configFile]: config, 'manifest.json': list });
  await writeFile(join(directory, 'saved.tar'), tar);
  await writeFile(join(directory, 'saved.tar.gz'), gzipSync(tar));
  const expected = await build(['base.tar'], 'a.ext4', { sizeBytes });
  const { sha256 } = output.parse(JSON.parse(expected.stdout));
  for (const name of ['saved.tar', 'saved.tar.gz']) {
    const built = await build([name], `${name}.ext4`, { sizeBytes });
    expect(output.parse(JSON.parse(built.stdout))).toMatchObject({ sha256, layers: [`sha256:${digest(layer)}`] });
  }
  expect(await build(['saved.tar', 'app.tar.gz'], 'x.ext4')).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('saved.tar is an image, not a layer: build it alone, with --overlay for more'),
  });
  expect(await build(['base.tar'], 'x.ext4', { overlay: 'saved.tar' })).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('saved.tar is an image, not a layer: --overlay takes a tar of the files to add'),
  });
});

test('of an archive with several images the one that is named, and what to name it by', async () => {
  const [one, two] = await Promise.all([fileLayer({ name: 'one' }), fileLayer({ name: 'two' })]);
  const images = [one, two].map(({ tar }, number) => ({ tags: [`app:${number}`], tars: [tar] }));
  await writeFile(join(directory, 'several.tar'), await imageArchive('docker', images));
  const { stderr } = await build(['several.tar'], 'x.ext4');
  expect(stderr).toMatch(
    /several\.tar holds several images; choose one: docker.io\/library\/app:0, docker.io\/library\/app:1; --image takes its name \(invalid_request\)\n$/,
  );
  expect(await build(['several.tar'], 'x.ext4', { image: 'app:1', sizeBytes })).toMatchObject({ exitCode: 0 });
  expect(await contentOf('x.ext4', '/name')).toBe('two');
});

test('counts hard links as the paths that they are, and gives the file the mode that the umask allows', async () => {
  const count = async (name: string, links: readonly string[]) => {
    const tar = pack();
    tar.entry({ name: 'file' }, 'content');
    for (const link of links) tar.entry({ name: link, type: 'link', linkname: 'file' });
    tar.finalize();
    await writeFile(join(directory, `${name}.tar`), await buffer(tar));
    return output.parse(JSON.parse((await build([`${name}.tar`], `${name}.ext4`, { sizeBytes })).stdout)).entries;
  };
  expect(await count('links', ['one', 'two'])).toBe((await count('alone', [])) + 2);
  await writeFile(join(directory, 'another'), '');
  expect((await stat(join(directory, 'links.ext4'))).mode).toBe((await stat(join(directory, 'another'))).mode);
});

/** Expects an error that says so, and that the directory is as it was. */
async function expectRefused(run: () => ReturnType<typeof build>, words: string): Promise<void> {
  const before = await readdir(directory);
  const { exitCode, stdout, stderr } = await run();
  expect(stderr).toContain(words);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(await readdir(directory)).toEqual(before);
}

type Row = [string, [string[], string, Partial<BuildRequest>?], string];

test.each<Row>([
  ['what is there already', [['base.tar'], 'app.tar.gz'], 'app.tar.gz is there already'],
  ['what is not there', [['nothing.tar'], 'x.ext4'], 'nothing.tar (ENOENT) (not_readable)'],
  ['a folder that is not there', [['base.tar'], 'no/x.ext4'], 'there is no folder '],
  ['what is no tar', [['name'], 'x.ext4'], 'name: the layer has a tar header whose checksum is wrong'],
  ['a folder that is no layout', [['.'], 'x.ext4'], 'it has neither an index.json'],
  ['an output that no file can have', [['base.tar'], 'x'.repeat(256)], `${'x'.repeat(256)} (ENAMETOOLONG)`],
  ['an output that is a link to nothing', [['base.tar'], 'link'], 'link is there already'],
  ['a pipe', [['pipe'], 'x.ext4'], 'pipe is not a file but a pipe or a device: write what it gives to a file first'],
  ['an overlay that is a folder', [['base.tar'], 'x.ext4', { overlay: '.' }], 'is a folder: --overlay takes a tar'],
  ['an empty file', [['base.tar', 'empty.tar'], 'x.ext4'], 'empty.tar is empty, and no tar (invalid_request)'],
  ...([{ platform: 'linux/arm64' }, { image: 'app:1' }] as const).map(
    (choice): Row => [
      `${Object.keys(choice)} of layers`,
      [['base.tar', 'app.tar.gz'], 'x.ext4', choice],
      'base.tar is a layer: --image and --platform choose from an archive or a layout (invalid_request)',
    ],
  ),
  ['content that the size has no room for', [['big.tar'], 'x.ext4', { sizeBytes }], '(image_too_large)'],
])('says what is wrong with %s, and leaves nothing behind', async (_what, [sources, name, more], words) => {
  await writeFile(join(directory, 'name'), 'x'.repeat(2048));
  await writeFile(join(directory, 'empty.tar'), '');
  if (sources.includes('pipe')) await run('mkfifo', 'pipe');
  await symlink('nowhere', join(directory, 'link'));
  await expectRefused(() => build(sources, name, more), words);
});

test.each([
  ['stdout', ['-o', '-'], '-o takes a file'],
  ['a size that is too small', ['-o', 'x.ext4', '--size', '15MiB'], 'It must be 16MiB to 16TiB'],
  ['a size that is none', ['-o', 'x.ext4', '--size', 'big'], 'It is not a size'],
])('%s is refused before the program is started', async (_what, args, words) => {
  await expectRefused(
    () => runHere(['rootfs', 'build', 'base.tar', ...args], { env: environment(), directory }),
    words,
  );
});

test('a full disk is told as that, by the name of the file that it was to have', async () => {
  const disk = join(directory, 'disk');
  await mkdir(disk);
  if (process.getuid?.() !== 0) throw new Error('this test mounts a small disk: run it as root');
  expect(await run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'none', disk)).toMatchObject({ exitCode: 0 });
  try {
    const { exitCode, stderr } = await build(['big.tar'], 'disk/x');
    expect(stderr).toBe(
      `error: the disk of ${join(disk, 'x')} is full, but for 67 MB that stay free; make room and run the same command again (disk_full)\n`,
    );
    expect([exitCode, await readdir(disk)]).toEqual([1, []]);
  } finally {
    await run('umount', disk);
  }
});

test('on a machine with many processors the error is all that is told', async () => {
  await writeFile(join(directory, 'damaged.tar.gz'), gzipSync('').subarray(0, 10));
  const many = `require('os').availableParallelism = () => 16; require('module').syncBuiltinESMExports();`;
  await writeFile(join(directory, 'many.cjs'), many);
  const layers = Array.from({ length: 16 }, () => 'damaged.tar.gz');
  const option = `NODE_OPTIONS=--require ${join(directory, 'many.cjs')}`;
  const built = await run('env', option, process.execPath, cli, 'rootfs', 'build', ...layers, '-o', 'x.ext4');
  expect(built.stderr).toMatch(/^error: \S*damaged\.tar\.gz: .*\(layer_corrupt\)\n$/);
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s leaves nothing behind', async (signal) => {
  const tar = pack();
  tar.entry({ name: 'big', size: 2 ** 33 });
  // The header; the content is a hole, and takes a while.
  const [header] = z.tuple([z.instanceof(Buffer)]).parse(await once(tar, 'data'));
  await writeFile(join(directory, 'long.tar'), header);
  await truncate(join(directory, 'long.tar'), header.length + 2 ** 33 + 1024);
  const before = await readdir(directory);
  // As a terminal sends it: to the whole group.
  const child = spawn(process.execPath, [cli, 'rootfs', 'build', 'long.tar', '-o', 'x.ext4'], {
    cwd: directory,
    detached: true,
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  await eventually(async () => (await readdir(directory)).length > before.length);
  process.kill(-(child.pid ?? 0), signal);
  expect(await ended).toEqual([130, null]);
  expect(await readdir(directory)).toEqual(before);
});

test.each([
  ['SIGINT', { exitCode: 130, stderr: '' }],
  [
    'SIGKILL',
    { exitCode: 1, stderr: expect.stringContaining('error: the build was ended by SIGKILL (out_of_resources)\n') },
  ],
])('%s while the program loads', async (signal, ended) => {
  // The program that the CLI starts, before its first line has run.
  const line = `if (process.argv[1].endsWith('rootfs.js')) process.kill(process.pid, '${signal}');`;
  await writeFile(join(directory, 'early.cjs'), line);
  const built = await run(
    'env',
    `NODE_OPTIONS=--require ${join(directory, 'early.cjs')}`,
    process.execPath,
    cli,
    'rootfs',
    'build',
    'base.tar',
    '-o',
    'x.ext4',
  );
  expect(built).toEqual({ ...ended, stdout: '' });
});

test('a result that cannot be written is an error, one that nobody reads is none; nothing else is left', async () => {
  const before = await readdir(directory);
  const command = (rest: string) =>
    `"$0" "$1" rootfs build base.tar -o x.ext4 --size 16MiB ${rest}; echo $?; rm x.ext4`;
  const full = await run('bash', '--norc', '-c', command('> /dev/full'), process.execPath, cli);
  expect(full).toEqual({ exitCode: 0, stdout: '1\n', stderr: 'error: the output cannot be written (ENOSPC)\n' });
  const unread = await run('bash', '--norc', '-c', `set -o pipefail; ${command('| true')}`, process.execPath, cli);
  expect(unread).toEqual({ exitCode: 0, stdout: '0\n', stderr: '' });
  expect(await readdir(directory)).toEqual(before);
});
