import { createHash } from 'node:crypto';
import { mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LayerEntry } from '../../layer/entry.ts';
import { decodeBlob } from '../../layer/layer-decoder.ts';
import { readLayerIndex } from '../../layer/layer-index.ts';

/** A layer that was decoded: its directory in the form of the layer cache. */
export interface DecodedTar {
  readonly directory: string;
  readonly entries: LayerEntry[];
}

/** Decodes a tar, on this thread, into a new directory below `parent`, the bytes coming in pieces that end at these places. */
export async function decodeTar(parent: string, tar: Buffer, cuts: readonly number[] = []): Promise<DecodedTar> {
  const directory = await mkdtemp(join(parent, 'layer-'));
  const digest = `sha256:${createHash('sha256').update(tar).digest('hex')}`;
  const layer = { compressedDigest: digest, diffId: digest, outDirectory: directory };
  await decodeBlob(layer, pieces(tar, cuts));
  return { directory, entries: [...readLayerIndex(directory).entries] };
}

/** The bytes of a decoded file, holes filled with zeros. */
export async function contentOf({ directory }: DecodedTar, entry: LayerEntry): Promise<Buffer> {
  const data = await readFile(join(directory, 'data'));
  const content = Buffer.alloc(entry.size);
  for (let at = 0; at < entry.runs.length; at += 3) {
    const [fileBlock = 0, dataBlock = 0, blocks = 0] = entry.runs.slice(at, at + 3);
    data.subarray(dataBlock * 4096, (dataBlock + blocks) * 4096).copy(content, fileBlock * 4096);
  }
  return content;
}

async function* pieces(bytes: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  let from = 0;
  for (const to of [...cuts].sort((a, b) => a - b)) {
    if (to <= from || to >= bytes.length) continue;
    yield bytes.subarray(from, to);
    from = to;
  }
  yield bytes.subarray(from);
}
