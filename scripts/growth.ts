/**
 * `npm run bench:growth`: how time and peak memory grow with ten times the bytes, and ten times the files. Makes, decodes and
 * builds each image in a process of its own. Needs about 12 GB of disk.
 *
 *   growth.ts [--case NAME]   measures one case in this process, and prints it as JSON
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import * as z from 'zod';
import { buildRootfs, decodeLayer, startThreads } from '../libs/rootfs/index.ts';

/** An image: its number of files, the bytes of each, and, where not the usual, files of a directory and least bytes of a name. */
interface Case {
  readonly files: number;
  readonly bytes: number;
  readonly ofDirectory?: number;
  readonly nameBytes?: number;
}

const CASES: Readonly<Record<string, Case>> = {
  '0.5 GB in 500 files': { files: 500, bytes: 1_000_000 },
  '5 GB in 5,000 files': { files: 5_000, bytes: 1_000_000 },
  '50,000 files of 100 bytes': { files: 50_000, bytes: 100 },
  '500,000 files of 100 bytes': { files: 500_000, bytes: 100 },
  'the same in one directory': { files: 500_000, bytes: 100, ofDirectory: 500_000 },
  'the same, names of 97 bytes': { files: 500_000, bytes: 100, ofDirectory: 500_000, nameBytes: 97 },
};

const FILES_OF_A_DIRECTORY = 100;
const FILES_OF_A_MEMBER = 100;
const TAR_BLOCK = 512;

const measured = z.object({
  decodeMs: z.number(),
  decodePeakBytes: z.number(),
  buildMs: z.number(),
  buildPeakBytes: z.number(),
});
type Measured = z.infer<typeof measured>;

const { values } = parseArgs({ options: { case: { type: 'string' } } });
if (values.case === undefined) {
  console.log('| image | decoding | its peak memory | building | its peak memory |\n|---|---|---|---|---|');
  for (const name of Object.keys(CASES)) {
    const { decodeMs, decodePeakBytes, buildMs, buildPeakBytes } = inItsOwnProcess(name);
    const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(2)} s`;
    const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
    const cells = [seconds(decodeMs), megabytes(decodePeakBytes), seconds(buildMs), megabytes(buildPeakBytes)];
    console.log(`| ${name} | ${cells.join(' | ')} |`);
  }
} else {
  const found = Object.entries(CASES).find(([name]) => name === values.case);
  if (found === undefined) throw new Error(`--case takes one of: ${Object.keys(CASES).join(', ')}`);
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-growth-'));
  try {
    console.log(JSON.stringify(await measure(directory, found[1])));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function inItsOwnProcess(name: string): Measured {
  const program = fileURLToPath(import.meta.url);
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', program, '--case', name], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the case ${name} failed: ${stderr}`);
  return measured.parse(JSON.parse(stdout));
}

async function measure(directory: string, image: Case): Promise<Measured> {
  const source = join(directory, 'layer.tar.gz');
  const outDirectory = join(directory, 'layer');
  await mkdir(outDirectory);
  const blob = writeLayer(source, image);
  startThreads();
  // The memory for making the layer does not count.
  forgetPeak();
  const decodeMs = await timed(() => decodeLayer({ source, ...blob, outDirectory }));
  const decodePeakBytes = peakBytes();
  forgetPeak();
  const buildMs = await timed(() => buildRootfs({ layers: [outDirectory], output: join(directory, 'rootfs.ext4') }));
  return { decodeMs, decodePeakBytes, buildMs, buildPeakBytes: peakBytes() };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** Resets the peak to the memory in use now, see proc_pid_clear_refs(5). */
function forgetPeak(): void {
  writeFileSync('/proc/self/clear_refs', '5');
}

function peakBytes(): number {
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

/** Writes a layer, as gzip members of a hundred files each. Each file has the same content: half random bytes, half zeros. */
function writeLayer(path: string, image: Case) {
  const { files, bytes, ofDirectory = FILES_OF_A_DIRECTORY, nameBytes = 0 } = image;
  const blob = createHash('sha256');
  const tar = createHash('sha256');
  const content = randomFillSync(Buffer.alloc(Math.ceil(bytes / TAR_BLOCK) * TAR_BLOCK), 0, Math.ceil(bytes / 2));
  const descriptor = openSync(path, 'wx');
  let size = 0;
  const append = (part: Buffer) => {
    const member = gzipSync(part, { level: 1 });
    tar.update(part);
    blob.update(member);
    writeSync(descriptor, member);
    size += member.length;
  };
  for (let first = 0; first < files; first += FILES_OF_A_MEMBER) {
    const parts: Buffer[] = [];
    for (let file = first; file < Math.min(files, first + FILES_OF_A_MEMBER); file++) {
      const directory = `d${Math.floor(file / ofDirectory)}/`;
      if (file % ofDirectory === 0) parts.push(tarHeader(directory, '5', 0));
      parts.push(tarHeader(`${directory}${`file-${file}`.padEnd(nameBytes, '-')}`, '0', bytes), content);
    }
    append(Buffer.concat(parts));
  }
  append(Buffer.alloc(2 * TAR_BLOCK));
  closeSync(descriptor);
  return { size, compressedDigest: `sha256:${blob.digest('hex')}`, diffId: `sha256:${tar.digest('hex')}` };
}

/** POSIX.1-2017 pax, "ustar Interchange Format". */
function tarHeader(name: string, type: string, size: number): Buffer {
  const header = Buffer.alloc(TAR_BLOCK);
  header.write(name, 0);
  header.write(`0000644\0${'0000000\0'.repeat(2)}`, 100);
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  header.write('14524770400\0        ', 136);
  header.write(type, 156);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}
