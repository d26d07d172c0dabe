import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildRootfs, decodeLayer, fileDigest } from '@bhatti/rootfs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { patternContent } from '../libs/rootfs/test/support/content.ts';
import { type LayerBlob, writeLayer } from '../libs/rootfs/test/support/layers.ts';
import type { TarEntry } from '../libs/rootfs/test/support/tar-entry.ts';

const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const SIZE = 32 * 2 ** 20;

const file = (path: string, bytes: number, more: Partial<TarEntry> = {}): TarEntry => ({
  path,
  type: 'file',
  content: patternContent(bytes, bytes),
  mtime: 1_700_000_000_123_456_789n,
  ...more,
});
/** Of different sizes, so that layers do not end in the order in which they begin; with every kind of thing that takes space in an image. */
const layers: readonly (readonly TarEntry[])[] = [
  [...Array.from({ length: 600 }, (_, index) => file(`many/a-name-of-some-length-${index}`, index)), file('big', 5e6)],
  [file('big', 7e6), { path: 'hard', type: 'link', target: 'many/a-name-of-some-length-7' }],
  [
    file('many/.wh.a-name-of-some-length-7', 0),
    { path: 'soft', type: 'symlink', target: 't'.repeat(100) },
    file('attributes', 10, { xattrs: [['user.large', Buffer.alloc(3000, 7)]] }),
  ],
  [file('many/a-name-of-some-length-3', 3e6), { path: 'fifo', type: 'fifo' }],
];

let directory: string;
let blobs: LayerBlob[];
let expected: string;
let attempts = 0;

/** A new folder. */
async function scratch(): Promise<string> {
  const path = join(directory, `attempt-${attempts++}`);
  await mkdir(path);
  return path;
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-same-bytes-'));
  blobs = [];
  for (const [number, entries] of layers.entries())
    blobs.push(await writeLayer(join(directory, `${number}.tar.gz`), entries, { compression: 'gzip' }));
  const caches: string[] = [];
  for (const blob of blobs) caches.push(await decoded(blob));
  expected = await built(caches);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Decodes the blob into a new folder, as in the layer cache. */
async function decoded(blob: LayerBlob, signal?: AbortSignal): Promise<string> {
  const outDirectory = await scratch();
  const { path: source, digest: compressedDigest, size, diffId } = blob;
  await decodeLayer({ source, size, compressedDigest, diffId, outDirectory, signal });
  return outDirectory;
}

async function built(caches: readonly string[]): Promise<string> {
  const output = join(await scratch(), 'rootfs.ext4');
  await buildRootfs({ layers: caches, output, sizeBytes: SIZE });
  return fileDigest(output);
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** Starts a build of the same layers in a process of its own, into a new folder. */
async function program(command: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const folder = await scratch();
  const output = join(folder, 'rootfs.ext4');
  const [name = '', ...args] = [...command, process.execPath, cli, 'rootfs', 'build', ...blobs.map(({ path }) => path)];
  const child = spawn(name, [...args, '-o', output, '--size', String(SIZE)], {
    stdio: 'ignore',
    detached: true,
    env: { PATH: process.env.PATH, HOME: folder, ...env },
  });
  return { child, folder, output, ended: once(child, 'exit') };
}

test.each<[string, string[], NodeJS.ProcessEnv]>([
  ['on one processor, with one thread', ['taskset', '-c', '0'], { UV_THREADPOOL_SIZE: '1' }],
  ['with threads for all layers', [], { UV_THREADPOOL_SIZE: '16' }],
])('a process of its own makes the same bytes %s', async (_what, command, env) => {
  const { ended, output } = await program(command, env);
  expect(await ended).toEqual([0, null]);
  expect(await fileDigest(output)).toBe(expected);
});

test('layers that are decoded at once, from the top down, make the same bytes', async () => {
  const caches = await Promise.all([...blobs].reverse().map((blob) => decoded(blob)));
  expect(await built(caches.reverse())).toBe(expected);
});

test('two builds at once from one cache make the same bytes', async () => {
  const caches = await Promise.all(blobs.map((blob) => decoded(blob)));
  expect(await Promise.all([built(caches), built(caches)])).toEqual([expected, expected]);
});

test('a second attempt after one that was cancelled makes the same bytes', async () => {
  const stop = new AbortController();
  const attempt = Promise.allSettled(blobs.map((blob) => decoded(blob, stop.signal)));
  setImmediate(() => stop.abort());
  await attempt;
  const caches = await Promise.all(blobs.map((blob) => decoded(blob)));
  const output = join(await scratch(), 'rootfs.ext4');
  const stopBuild = new AbortController();
  const build = buildRootfs({ layers: caches, output, sizeBytes: SIZE, signal: stopBuild.signal });
  build.catch(() => {});
  while (!(await exists(output))) await new Promise((resolve) => setTimeout(resolve, 1));
  stopBuild.abort();
  await expect(build).rejects.toMatchObject({ code: 'cancelled' });
  expect(await built(caches)).toBe(expected);
});

test('a second attempt after a process that was killed at work makes the same bytes', async () => {
  const first = await program([]);
  while (!(await readdir(first.folder)).some((name) => name.startsWith('.bhatti-rootfs-')))
    await new Promise((resolve) => setTimeout(resolve, 5));
  // The process that builds is a child of the one started here, in the same group.
  process.kill(-(first.child.pid ?? 0), 'SIGKILL');
  await first.ended;
  expect(await readdir(first.folder)).not.toContain('rootfs.ext4');
  const second = await program([]);
  expect(await second.ended).toEqual([0, null]);
  expect(await fileDigest(second.output)).toBe(expected);
});
