/** The program of the thread that decodes one layer: see `decodeLayer`. */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { toThreadFailure } from './error.ts';
import { GrowingFile } from './layer/growing-file.ts';
import { decodeBlob } from './layer/layer-decoder.ts';

const input = z.object({
  source: z.string(),
  size: z.number(),
  available: z.number(),
  compression: z.enum(['gzip', 'zstd', 'none']),
  compressedDigest: z.string(),
  diffId: z.string(),
  outDirectory: z.string(),
});

const { source, size, available, ...layer } = input.parse(workerData);
const file = new GrowingFile(source, size, available);
parentPort?.on('message', (bytes: unknown) => file.announce(z.number().parse(bytes)));
decodeBlob(layer, file).then(
  (result) => parentPort?.postMessage({ kind: 'done', result }),
  (error: unknown) => parentPort?.postMessage({ kind: 'failed', failure: toThreadFailure(error) }),
);
