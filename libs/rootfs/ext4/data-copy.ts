import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DATA_FILE } from '../layer/layer-index.ts';
import { BLOCK_SIZE } from './format.ts';

/** Bytes of one read and one write. Measured for 1 GB: 256 KiB 0.40 s, 1 MiB 0.36 s, 8 MiB 0.47 s (out of the cache). */
const CHUNK = 1024 * 1024;

/** Blocks of a layer's data file that go to consecutive blocks of the image. */
interface CopyRun {
  readonly layer: number;
  readonly from: number;
  readonly to: number;
  blocks: number;
}

/** Collects what is to be copied from the layers' data into the image, in as few runs as there are. */
export class DataCopy {
  readonly #runs: CopyRun[] = [];

  add(layer: number, from: number, to: number, blocks: number): void {
    const last = this.#runs.at(-1);
    if (last?.layer === layer && last.from + last.blocks === from && last.to + last.blocks === to)
      last.blocks += blocks;
    else this.#runs.push({ layer, from, to, blocks });
  }

  /** Copies. @param layers directories of the layer cache, by number */
  copy(layers: readonly string[], image: number): void {
    const buffer = Buffer.allocUnsafeSlow(CHUNK);
    const sources = new Map<number, number>();
    try {
      for (const run of this.#runs) {
        const source = sources.get(run.layer) ?? openSync(join(layers[run.layer] ?? '', DATA_FILE), 'r');
        sources.set(run.layer, source);
        copyBytes(source, run.from * BLOCK_SIZE, image, run.to * BLOCK_SIZE, run.blocks * BLOCK_SIZE, buffer);
      }
    } finally {
      for (const source of sources.values()) closeSync(source);
    }
  }
}

function copyBytes(source: number, from: number, target: number, to: number, length: number, buffer: Buffer): void {
  for (let done = 0; done < length; ) {
    const count = readSync(source, buffer, 0, Math.min(buffer.length, length - done), from + done);
    if (count === 0) throw new Error("a layer's data in the cache is shorter than its index says");
    for (let written = 0; written < count; )
      written += writeSync(target, buffer, written, count - written, to + done + written);
    done += count;
  }
}
