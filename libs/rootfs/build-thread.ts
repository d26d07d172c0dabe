/** The program of the thread that writes one root filesystem: see `buildRootfs`. */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { buildImage } from './build-image.ts';
import { toThreadFailure } from './error.ts';

const input = z.object({ layers: z.array(z.string()), output: z.string(), sizeBytes: z.number().optional() });

try {
  parentPort?.postMessage({ kind: 'done', result: buildImage(input.parse(workerData)) });
} catch (error) {
  parentPort?.postMessage({ kind: 'failed', failure: toThreadFailure(error) });
}
