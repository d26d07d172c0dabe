import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { buildRootfs, decodeLayer, type RootfsReport } from '@bhatti/rootfs';
import type { LayerCompression } from '../../layer/compression.ts';
import type { LayerEntry } from '../../layer/entry.ts';
import { DATA_FILE, LayerIndexWriter } from '../../layer/layer-index.ts';
import { type TarItem, type TarOptions, writeTar } from './tar-writer.ts';
import { createStoredZstd } from './zstd-stored.ts';

export interface LayerBlob {
  readonly path: string;
  /** Bytes of the blob. */
  readonly size: number;
  /** `sha256:<hex>` of the blob, and of the tar in it. */
  readonly digest: string;
  readonly diffId: string;
}

export interface LayerOptions extends TarOptions {
  readonly compression?: LayerCompression;
}

/** Writes a layer's blob to a file. Not compressed unless asked: what is tested is the tar. */
export async function writeLayer(
  path: string,
  items: Iterable<TarItem>,
  options: LayerOptions = {},
): Promise<LayerBlob> {
  const compression = options.compression ?? 'none';
  const tarPath = compression === 'none' ? path : `${path}.tar`;
  const tar = await writeTar(tarPath, items, options);
  const diffId = `sha256:${tar.sha256}`;
  if (compression === 'none') return { path, size: tar.size, digest: diffId, diffId };

  const hash = createHash('sha256');
  const hashing = new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      hash.update(chunk);
      callback(null, chunk);
    },
  });
  const compress = compression === 'gzip' ? createGzip({ level: 1 }) : createStoredZstd();
  await pipeline(createReadStream(tarPath), compress, hashing, createWriteStream(path));
  await rm(tarPath);
  return { path, size: (await stat(path)).size, digest: `sha256:${hash.digest('hex')}`, diffId };
}

/** Decodes a blob into a directory of the layer cache, which is made. */
export async function decodeBlobFile(blob: LayerBlob, outDirectory: string): Promise<void> {
  await mkdir(outDirectory);
  await decodeLayer({
    source: blob.path,
    size: blob.size,
    compressedDigest: blob.digest,
    diffId: blob.diffId,
    outDirectory,
  });
}

/** Makes a layer of the cache of entries without content, straight from its index, in a new directory below `parent`. */
export async function layerOfEntries(parent: string, entries: Iterable<LayerEntry>): Promise<string> {
  const layer = await mkdtemp(join(parent, 'layer-'));
  const index = new LayerIndexWriter(layer, `sha256:${'0'.repeat(64)}`);
  for (const entry of entries) index.add(entry, []);
  index.close();
  await writeFile(join(layer, DATA_FILE), '');
  return layer;
}

export interface BuiltImage {
  readonly path: string;
  readonly report: RootfsReport;
}

/** Makes an ext4 of layers, lowest first, in a directory: each through a tar file and the layer cache, as a pull does it. */
export async function buildImage(
  directory: string,
  layers: readonly Iterable<TarItem>[],
  options: LayerOptions & { readonly sizeBytes?: number } = {},
): Promise<BuiltImage> {
  const cache: string[] = [];
  for (const [number, items] of layers.entries()) {
    const blob = await writeLayer(join(directory, `layer-${number}.blob`), items, options);
    const decoded = join(directory, `layer-${number}`);
    await decodeBlobFile(blob, decoded);
    await rm(blob.path);
    cache.push(decoded);
  }
  const path = join(directory, 'rootfs.ext4');
  const report = await buildRootfs({ layers: cache, output: path, sizeBytes: options.sizeBytes });
  return { path, report };
}
