/**
 * `npm run demo`: a pull on a machine without internet. Seeds a registry on loopback with a small image made of Debian's
 * busybox-static, pulls it through the whole stack, lists and checks it, and leaves nothing behind.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { pack } from 'tar-stream';
import * as z from 'zod';
import { command } from './command.ts';
import { type LayerBlob, pushImage, sha256, startLoopbackRegistry } from './loopback-registry.ts';

const REPOSITORY = 'demo/busybox';
const TAG = '1.0';
const imageList = z.object({ images: z.array(z.object({ path: z.string() })).length(1) });

const directory = await mkdtemp(join(tmpdir(), 'bhatti-demo-'));
try {
  const tools = ['mke2fs', 'e2fsck', 'redis-server', 'docker-registry', 'busybox'];
  command('bash', ['scripts/setup.sh', ...tools], { output: 'inherit' });
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
    const listed = command('./bhatti', ['image', 'list', '--json', ...data]);
    const [image] = imageList.parse(JSON.parse(listed)).images;
    show('e2fsck', ['-fn', image?.path ?? '']);
  } finally {
    command('./bhatti', ['serve', 'stop', ...data]);
  }
}

/** Prints a command as a user types it, and runs it. */
function show(file: string, args: readonly string[], hidden: readonly string[] = []): void {
  console.log(`$ ${[file, ...args].join(' ')}`);
  command(file, [...args, ...hidden], { output: 'inherit' });
  console.log();
}

/** A base layer with the static binary and links to it, and a layer on top that replaces a file. */
async function busyboxLayers(): Promise<LayerBlob[]> {
  const busybox = command('sh', ['-c', 'command -v busybox']).trim();
  const names = command(busybox, ['--list']).split('\n');
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
