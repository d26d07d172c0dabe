import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { RootfsError } from '../error.ts';
import { DATA_FILE } from '../layer/layer-index.ts';
import { alignedBuffer, DirectFile } from './direct-file.ts';
import { BLOCK_SIZE } from './format.ts';

/** Bytes of one read and one write. */
const CHUNK = 1024 * 1024;

/** Chunks under way at once, each on a thread of libuv's pool. */
const LANES = 2;

/** Blocks of a layer's data file that go to consecutive blocks of the image. */
export const copyRun = z.object({ layer: z.number(), from: z.number(), to: z.number(), blocks: z.number() });
export type CopyRun = z.infer<typeof copyRun>;

/** Adds blocks to what is to be copied, in as few runs as there are. */
export function addCopyRun(runs: CopyRun[], run: CopyRun): void {
  const last = runs.at(-1);
  if (last?.layer === run.layer && last.from + last.blocks === run.from && last.to + last.blocks === run.to)
    last.blocks += run.blocks;
  else runs.push(run);
}

/**
 * Copies layers' data into an image.
 *
 * @param layers directories of the layer cache, by number
 * @throws what reading and writing throw, or the signal's reason
 */
export async function copyData(
  runs: readonly CopyRun[],
  layers: readonly string[],
  image: string,
  signal?: AbortSignal,
): Promise<void> {
  const files = new Map<number, FileHandle>();
  const target = await DirectFile.open(image);
  try {
    for (const { layer } of runs)
      if (!files.has(layer)) files.set(layer, await open(join(layers[layer] ?? '', DATA_FILE), 'r'));
    const chunks = copyChunks(runs);
    const lane = async () => {
      const buffer = alignedBuffer(CHUNK);
      for (const { layer, from, to, bytes } of chunks) {
        signal?.throwIfAborted();
        const source = files.get(layer);
        if (source === undefined) throw new RootfsError('internal', 'a layer that is not open');
        await readWhole(source, buffer, bytes, from);
        await target.write(buffer, bytes, to);
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
    for (const result of lanes) if (result.status === 'rejected') throw result.reason;
  } finally {
    await Promise.all([target, ...files.values()].map((file) => file.close()));
  }
}

/** Runs cut into chunks; offsets and lengths in bytes. */
function* copyChunks(runs: readonly CopyRun[]): Generator<{ layer: number; from: number; to: number; bytes: number }> {
  for (const { layer, from, to, blocks } of runs) {
    const length = blocks * BLOCK_SIZE;
    for (let at = 0; at < length; at += CHUNK) {
      yield { layer, from: from * BLOCK_SIZE + at, to: to * BLOCK_SIZE + at, bytes: Math.min(CHUNK, length - at) };
    }
  }
}

async function readWhole(file: FileHandle, buffer: Buffer, length: number, position: number): Promise<void> {
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(buffer, at, length - at, position + at);
    if (bytesRead === 0)
      throw new RootfsError('internal', "a layer's data in the cache is shorter than its index says");
    at += bytesRead;
  }
}
