import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { damagedLayer, layerReadFailure, RootfsError } from '../error.ts';
import { DATA_FILE } from '../layer/layer-index.ts';
import { copyChunks, SPAN } from './copy-chunk.ts';
import type { CopyRun } from './copy-run.ts';
import { alignedBuffer, DirectFile } from './direct-file.ts';

/** Chunks copied at the same time, each on a thread of libuv's pool. */
const LANES = 2;

/**
 * Copies layers' data into an image.
 *
 * @param layers directories of the layer cache, by layer number
 * @throws RootfsError `layer_damaged`, system errors of reading and writing, or the signal's reason
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
      const buffer = alignedBuffer(SPAN);
      for (const chunk of chunks) {
        signal?.throwIfAborted();
        const source = files.get(chunk.layer);
        if (source === undefined) throw new RootfsError('internal', 'a layer that is not open');
        const directory = layers[chunk.layer] ?? '';
        const isWhole = await readWhole(source, buffer, chunk.span, chunk.from).catch((error: unknown) => {
          throw layerReadFailure(directory, error);
        });
        if (!isWhole) throw damagedLayer(directory, 'its data became shorter while it was read');
        chunk.closeGaps(buffer);
        await target.write(buffer, chunk.bytes, chunk.to);
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
    for (const result of lanes) if (result.status === 'rejected') throw result.reason;
  } finally {
    await Promise.all([target, ...files.values()].map((file) => file.close()));
  }
}

/** Fills `length` bytes of the buffer; false when the file ends before. */
async function readWhole(file: FileHandle, buffer: Buffer, length: number, position: number): Promise<boolean> {
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(buffer, at, length - at, position + at);
    if (bytesRead === 0) return false;
    at += bytesRead;
  }
  return true;
}
