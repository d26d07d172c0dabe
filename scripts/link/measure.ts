/**
 * `npm run bench -- link`: pulls over a slow link, compared with what the link alone takes for the bytes of the layers, and with
 * curl, which fetches the same blobs one after the other on one connection.
 *
 *   npm run bench -- link [--rate 50] [--delay 80] [--layers 60,40,30,20] [--ref HOST/REPO:TAG] [--runs 3]
 *       [--mtu 1500] [--congestion cubic] [--ranges 1,4,8]
 *
 * Rate in Mbit/s, delay in ms there and back, layers in MB. --ranges measures only curl, which fetches the first layer in so many
 * ranges at once. --ref takes an image at a registry on loopback. Takes root, and iproute2, python3, curl, docker-registry
 * (skopeo for --ref).
 */
import { randomFillSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import * as z from 'zod';
import { fileLayer } from '../../test/support/layer.ts';
import { command } from '../command.ts';
import { type LayerBlob, layersOf, pushImage, sha256, startLoopbackRegistry } from '../loopback-registry.ts';
import { median, timed } from '../timing.ts';
import { startSlowLink } from './slow-link.ts';

const REPOSITORY = 'bench/link';
const PORT = 5000;
/** Bytes of IPv4 and TCP, with timestamps, in a packet. */
const PACKET_OVERHEAD = 52;

const number = z.coerce.number().positive();
const optionsSchema = z.object({
  rate: number.default(50),
  delay: number.default(80),
  runs: number.default(3),
  mtu: number.default(1500),
  layers: z
    .string()
    .default('60,40,30,20')
    .transform((text) => text.split(',').map(Number))
    .pipe(z.array(z.number().positive()).min(1)),
  congestion: z.string().default('cubic'),
  ranges: z
    .string()
    .transform((text) => text.split(',').map(Number))
    .pipe(z.array(z.int().positive()))
    .optional(),
  ref: z.string().optional(),
});

/** Prints a table. */
export async function measureLink(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: Object.fromEntries(Object.keys(optionsSchema.shape).map((name) => [name, { type: 'string' } as const])),
  });
  const options = optionsSchema.parse(values);
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-link-'));
  try {
    const blobs = join(directory, 'registry');
    await fill(blobs, options);
    const link = await startSlowLink({
      bitsPerSecond: options.rate * 1e6,
      roundTripMs: options.delay,
      mtu: options.mtu,
      congestionControl: options.congestion,
    });
    try {
      const host = `${link.address}:${PORT}`;
      const registry = await startLoopbackRegistry(blobs, { host, within: link.within });
      try {
        await measure(directory, host, options);
      } finally {
        await registry.close();
      }
    } finally {
      await link.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

type Options = z.infer<typeof optionsSchema>;

/** Puts the image into a registry's directory, bypassing the link. */
async function fill(blobs: string, { ref, layers }: Options): Promise<void> {
  const registry = await startLoopbackRegistry(blobs);
  try {
    if (ref === undefined) await pushImage(registry.host, REPOSITORY, '1', await Promise.all(layers.map(randomLayer)));
    else {
      const tls = ['--src-tls-verify=false', '--dest-tls-verify=false'];
      command('skopeo', ['copy', '-q', ...tls, `docker://${ref}`, `docker://${registry.host}/${REPOSITORY}:1`]);
    }
  } finally {
    await registry.close();
  }
}

/** A layer of so many megabytes compressed, and about twice as many uncompressed. */
async function randomLayer(megabytes: number): Promise<LayerBlob> {
  const files: Record<string, Buffer> = {};
  for (let i = 0; i < megabytes; i++) {
    const content = Buffer.alloc(2_000_000, `${i} of a layer of ${megabytes} MB\n`);
    files[`layer-${megabytes}/file-${i}`] = randomFillSync(content, 0, 1_000_000);
  }
  const { tar } = await fileLayer(files);
  return { blob: gzipSync(tar, { level: 1 }), diffId: sha256(tar) };
}

async function measure(directory: string, host: string, options: Options): Promise<void> {
  const layers = await layersOf(host, REPOSITORY, '1');
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  const packets = Math.ceil(bytes / (options.mtu - PACKET_OVERHEAD));
  const alone = ((bytes + packets * PACKET_OVERHEAD) * 8) / (options.rate * 1e6);
  const urls = layers.map(({ digest }) => `http://${host}/v2/${REPOSITORY}/blobs/${digest}`);
  if (options.ranges !== undefined) return measureRanges(urls[0] ?? '', layers[0]?.size ?? 0, options);
  const times = { curl: [] as number[], fetch: [] as number[], pull: [] as number[] };
  for (let run = 0; run < options.runs; run++) {
    times.curl.push(
      timed(() => command('curl', ['--silent', '--fail', ...urls.flatMap((url) => ['-o', '/dev/null', url])])),
    );
    const fetchLayers = ['--import', 'tsx', 'scripts/fetch-layers.ts', `${host}/${REPOSITORY}:1`];
    const fetched = command(process.execPath, fetchLayers, { insecureRegistry: host });
    times.fetch.push(Number(fetched.split(' ')[0]));
    const data = join(directory, `data-${run}`);
    const bhatti = (...args: string[]) =>
      command('./bhatti', [...args, '--data-dir', data], { insecureRegistry: host });
    bhatti('serve', '--detach');
    try {
      times.pull.push(timed(() => bhatti('image', 'pull', `${host}/${REPOSITORY}:1`, '--name', 'bench')));
    } finally {
      bhatti('serve', 'stop');
      await rm(data, { recursive: true, force: true });
    }
  }
  printHeading(
    layers.map(({ size }) => size),
    options,
  );
  console.log('| | seconds | x link alone |\n|---|---|---|');
  const row = (name: string, seconds: number) =>
    console.log(`| ${name} | ${seconds.toFixed(2)} | ${(seconds / alone).toFixed(3)} |`);
  row('the link alone', alone);
  row('curl, one connection', median(times.curl));
  row('layers fetched and verified (libs/oci)', median(times.fetch));
  row('pull, by the CLI', median(times.pull));
}

/** Measures curl with one layer in several ranges, each on a connection of its own. */
function measureRanges(url: string, size: number, options: Options): void {
  const { ranges = [], runs } = options;
  printHeading([size], options);
  console.log('| ranges at once | seconds | Mbit/s |\n|---|---|---|');
  for (const count of ranges) {
    const step = Math.ceil(size / count);
    const parts = Array.from({ length: count }, (_, i) => `${i * step}-${Math.min(size, (i + 1) * step) - 1}`);
    const one = (range: string) => ['--silent', '--fail', '--range', range, '-o', '/dev/null', url];
    const args = ['--parallel', '--parallel-immediate', ...parts.flatMap((range) => [...one(range), '--next'])].slice(
      0,
      -1,
    );
    const seconds = median(Array.from({ length: runs }, () => timed(() => command('curl', args))));
    console.log(`| ${count} | ${seconds.toFixed(2)} | ${((size * 8) / 1e6 / seconds).toFixed(0)} |`);
  }
}

function printHeading(bytes: readonly number[], { rate, delay, mtu, congestion, runs }: Options): void {
  const sizes = bytes.map((size) => (size / 1e6).toFixed(0)).join(' + ');
  console.log(
    `\n${sizes} MB over ${rate} Mbit/s, ${delay} ms there and back, packets of ${mtu}, ${congestion}; ${runs} runs, medians\n`,
  );
}
