/**
 * `npm run demo`: the main job on a machine without internet. A registry on loopback is seeded with a small image made
 * of Debian's busybox-static; the image is pulled through the whole stack, listed and checked; nothing stays behind.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { pack } from 'tar-stream';
import * as z from 'zod';
import { type LayerBlob, pushImage, sha256, startLoopbackRegistry } from './loopback-registry.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const REPOSITORY = 'demo/busybox';
const TAG = '1.0';
const environment = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` };
const imageList = z.object({ images: z.array(z.object({ path: z.string() })).length(1) });

const directory = await mkdtemp(join(tmpdir(), 'bhatti-demo-'));
try {
  must('bash', ['scripts/setup.sh', 'mke2fs', 'e2fsck', 'redis-server', 'docker-registry', 'busybox'], 'inherit');
  const registry = await startLoopbackRegistry(join(directory, 'registry'));
  try {
    await pushImage(registry.host, REPOSITORY, TAG, await busyboxLayers());
    await demonstrate(`${registry.host}/${REPOSITORY}:${TAG}`);
  } finally {
    await registry.close();
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function demonstrate(reference: string): Promise<void> {
  const data = ['--data-dir', join(directory, 'data')];
  try {
    show('./bhatti', ['image', 'pull', reference], data);
    show('./bhatti', ['image', 'list'], data);
    const listed = must('./bhatti', ['image', 'list', '--json', ...data], 'pipe');
    const [image] = imageList.parse(JSON.parse(listed)).images;
    show('e2fsck', ['-fn', image?.path ?? '']);
  } finally {
    must('./bhatti', ['serve', 'stop', ...data], 'pipe');
  }
}

/** Prints a command as a user types it, and runs it. */
function show(command: string, args: readonly string[], hidden: readonly string[] = []): void {
  console.log(`$ ${[command, ...args].join(' ')}`);
  must(command, [...args, ...hidden], 'inherit');
  console.log();
}

/** Runs a command that must not fail; its output, where it is piped. */
function must(command: string, args: readonly string[], output: 'inherit' | 'pipe'): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    env: { ...environment, BHATTI_LISTEN: '127.0.0.1:0' },
    stdio: ['ignore', output, output],
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr ?? ''}`, { cause: error });
  return stdout ?? '';
}

/** A base with the one static binary and its names, and a layer on top that replaces a file of it. */
async function busyboxLayers(): Promise<LayerBlob[]> {
  const busybox = must('sh', ['-c', 'command -v busybox'], 'pipe').trim();
  const names = must(busybox, ['--list'], 'pipe').split('\n');
  const base = pack();
  for (const name of ['bin', 'etc', 'root']) base.entry({ name, type: 'directory', mode: 0o755 });
  base.entry({ name: 'bin/busybox', mode: 0o755 }, await readFile(busybox));
  for (const name of names.filter((name) => name !== '' && name !== 'busybox')) {
    base.entry({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' });
  }
  base.entry({ name: 'etc/passwd' }, 'root:x:0:0:root:/root:/bin/sh\n');
  base.entry({ name: 'etc/motd' }, 'the base layer\n');
  const top = pack();
  top.entry({ name: 'etc/motd' }, 'pulled by bhatti\n');
  return Promise.all(
    [base, top].map(async (tar) => {
      tar.finalize();
      const bytes = await buffer(tar);
      return { blob: await promisify(gzip)(bytes), diffId: sha256(bytes) };
    }),
  );
}
