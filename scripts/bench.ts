/**
 * `npm run bench`: measures pulls, the floor and the tools that people use today in one run, and compares them as ratios.
 *
 *   npm run bench -- [--ref HOST/REPO:TAG] [--runs 3] [--megabytes 1000] [--peers]
 *   npm run bench -- scaling
 *   npm run bench -- link [--rate 50] [--delay 80] [--layers 60,40,30,20] [--ref HOST/REPO:TAG]
 *
 * Without --ref an image is made of this machine's /usr, in six layers, and served by a registry on loopback. --peers
 * also times `tar` with `mke2fs -d`, and umoci where it and skopeo are installed; that takes root.
 */
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import * as z from 'zod';
import { command, isInstalled } from './command.ts';
import { measureLink } from './link/measure.ts';
import { type LayerBlob, layersOf, pushImage, sha256, startLoopbackRegistry } from './loopback-registry.ts';
import { measureScaling } from './scaling.ts';
import { median, timed } from './timing.ts';

const LAYERS = 6;

if (process.argv[2] === 'link') {
  command('npx', ['tsx', 'scripts/build.ts']);
  command('bash', ['scripts/setup.sh', 'mke2fs', 'e2fsck', 'redis-server', 'docker-registry', 'ip', 'curl', 'python3']);
  await measureLink(process.argv.slice(3));
  process.exit(0);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ref: { type: 'string' },
    runs: { type: 'string', default: '3' },
    megabytes: { type: 'string', default: '1000' },
    peers: { type: 'boolean', default: false },
  },
});
const runs = z.coerce.number().int().min(1).parse(values.runs);
const megabytes = z.coerce.number().int().min(1).parse(values.megabytes);

const stackSchema = z.object({ children: z.array(z.object({ name: z.string(), pid: z.number() })) });

if (positionals[0] === 'scaling') {
  command('npx', ['tsx', 'scripts/build.ts']);
  await measureScaling();
  process.exit(0);
}

const directory = await mkdtemp(join(tmpdir(), 'bhatti-bench-'));
try {
  command('bash', ['scripts/setup.sh', 'mke2fs', 'e2fsck', 'redis-server', 'docker-registry']);
  if (values.ref === undefined) {
    const registry = await startLoopbackRegistry(join(directory, 'registry'));
    try {
      console.error(`making an image of ${megabytes} MB of /usr...`);
      await pushImage(registry.host, 'bench/usr', '1', await layersOfUsr());
      await measure(`${registry.host}/bench/usr:1`);
    } finally {
      await registry.close();
    }
  } else await measure(values.ref);
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function measure(reference: string): Promise<void> {
  const blobs = await fetchBlobs(reference, join(directory, 'blobs'));
  const seconds = new Map<string, number[]>();
  const note = (row: string, time: number) => seconds.set(row, [...(seconds.get(row) ?? []), time]);
  let memory = 0;
  for (let run = 0; run < runs; run++) {
    console.error(`run ${run + 1} of ${runs}...`);
    note('floor', Number(command('npx', ['tsx', 'scripts/floor.ts', ...blobs])) / 1000);
    const data = join(directory, `data-${run}`);
    const bhatti = (...args: string[]) => command('./bhatti', [...args, '--data-dir', data]);
    bhatti('serve', '--detach');
    try {
      note(
        'cold pull',
        timed(() => bhatti('image', 'pull', reference, '--name', 'bench')),
      );
      note(
        'layers cached, image not built',
        timed(() => bhatti('image', 'pull', reference, '--name', 'sized', '--size', '8GiB')),
      );
      note(
        'same digest again',
        timed(() => bhatti('image', 'pull', reference, '--name', 'bench')),
      );
      for (const name of ['bench', 'sized']) bhatti('image', 'delete', '-y', name);
      bhatti('image', 'prune', '-y');
      note(
        'cold pull by a worker that has pulled before',
        timed(() => bhatti('image', 'pull', reference, '--name', 'bench')),
      );
      memory = Math.max(memory, await peakMemory(bhatti('serve', 'status', '--json')));
    } finally {
      bhatti('serve', 'stop');
      await rm(data, { recursive: true, force: true });
    }
    await measureFetch(reference, note);
    if (values.peers) await measurePeers(reference, note);
  }
  report(reference, seconds, memory);
}

/**
 * The layers fetched and verified by libs/oci, and by `skopeo copy` if installed. Does not count the start of Node and tsx, but
 * that of skopeo (some 20 ms).
 */
async function measureFetch(reference: string, note: (row: string, time: number) => void): Promise<void> {
  const [seconds] = command(process.execPath, ['--import', 'tsx', 'scripts/fetch-layers.ts', reference]).split(' ');
  note('layers fetched and verified (libs/oci)', Number(seconds));
  if (!isInstalled('skopeo')) return;
  const work = join(directory, 'skopeo');
  note(
    'layers fetched and verified (skopeo copy, dir)',
    timed(() => command('skopeo', ['copy', '-q', '--src-tls-verify=false', `docker://${reference}`, `dir:${work}`])),
  );
  await rm(work, { recursive: true });
}

/** The tools that people use today: download, unpack on the host as root, and `mke2fs -d`. */
async function measurePeers(reference: string, note: (row: string, time: number) => void): Promise<void> {
  const work = join(directory, 'peer');
  const image =
    'truncate -s "$(( $(du -sm rootfs | cut -f1) * 13 / 10 + 64 ))M" r.ext4 && mke2fs -q -F -t ext4 -N "$(( $(find rootfs | wc -l) * 3 / 2 + 1024 ))" -d rootfs r.ext4';
  await mkdir(work);
  const started = performance.now();
  const blobs = await fetchBlobs(reference, work);
  const untar = 'mkdir rootfs && for b in "$@"; do tar --xattrs --xattrs-include="*" -xzf "$b" -C rootfs; done';
  command('sh', ['-c', `cd ${work} && ${untar} && ${image}`, 'sh', ...blobs]);
  note('tar -x, mke2fs -d', (performance.now() - started) / 1000);
  await rm(work, { recursive: true });
  if (!isInstalled('umoci') || !isInstalled('skopeo')) return;
  await mkdir(work);
  const copy = `skopeo copy -q --src-tls-verify=false docker://${reference} oci:layout:x`;
  const unpack = 'umoci unpack --image layout:x bundle && mv bundle/rootfs rootfs';
  note(
    'skopeo, umoci, mke2fs -d',
    timed(() => command('sh', ['-c', `cd ${work} && ${copy} && ${unpack} && ${image}`])),
  );
  await rm(work, { recursive: true });
}

function report(reference: string, seconds: ReadonlyMap<string, readonly number[]>, memory: number): void {
  const floor = median(seconds.get('floor') ?? []);
  const machine = `${availableParallelism()} x ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
  console.log(`\n${reference}, ${runs} runs, medians; ${machine}\n`);
  console.log('| | seconds | x floor |\n|---|---|---|');
  for (const [row, times] of seconds) {
    console.log(`| ${row} | ${median(times).toFixed(2)} | ${(median(times) / floor).toFixed(2)} |`);
  }
  console.log(`\npeak memory of the worker: ${Math.round(memory / 1e6)} MB`);
}

/** The highest peak memory of a worker of the stack, in bytes. */
async function peakMemory(status: string): Promise<number> {
  const { children } = stackSchema.parse(JSON.parse(status));
  const peaks = await Promise.all(
    children
      .filter(({ name }) => name.startsWith('worker'))
      .map(async ({ pid }) => /VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]),
  );
  return Math.max(...peaks.map((kilobytes) => Number(kilobytes) * 1024));
}

/** Downloads the layers of an image at a loopback registry. Returns their paths, bottom first. */
async function fetchBlobs(reference: string, into: string): Promise<string[]> {
  const match = /^([^/]+)\/(.+):([^:/]+)$/.exec(reference);
  if (match === null) throw new Error('--ref takes HOST/REPOSITORY:TAG of a registry on loopback');
  const [, host = '', repository = '', tag = ''] = match;
  const layers = await layersOf(host, repository, tag);
  await mkdir(into, { recursive: true });
  return Promise.all(
    layers.map(async ({ digest }, layer) => {
      const { body } = await fetch(`http://${host}/v2/${repository}/blobs/${digest}`);
      if (body === null) throw new Error(`the registry has no ${digest}`);
      const path = join(into, `${layer}.tar.gz`);
      await pipeline(Readable.from(body), createWriteStream(path));
      return path;
    }),
  );
}

/** Layers of about equal size with files of /usr, in the order of `find`. */
async function layersOfUsr(): Promise<LayerBlob[]> {
  const files = command('find', ['/usr', '-xdev', '(', '-type', 'f', '-o', '-type', 'l', ')', '-printf', '%s %P\n']);
  const groups: string[][] = Array.from({ length: LAYERS }, () => []);
  let bytes = 0;
  for (const line of files.split('\n').filter((line) => line !== '')) {
    const space = line.indexOf(' ');
    bytes += Number(line.slice(0, space));
    if (bytes > megabytes * 1e6) break;
    groups[Math.min(LAYERS - 1, Math.floor((bytes / (megabytes * 1e6)) * LAYERS))]?.push(line.slice(space + 1));
  }
  const layers: LayerBlob[] = [];
  for (const [i, names] of groups.filter((group) => group.length > 0).entries()) {
    const list = join(directory, `list-${i}`);
    const path = join(directory, `layer-${i}.tar`);
    await writeFile(list, names.join('\n'));
    command('tar', [
      '--create',
      '--file',
      path,
      '--directory',
      '/usr',
      '--transform',
      's,^,usr/,S',
      '--files-from',
      list,
    ]);
    const tar = await readFile(path);
    await rm(path);
    layers.push({ blob: gzipSync(tar), diffId: sha256(tar) });
  }
  return layers;
}
