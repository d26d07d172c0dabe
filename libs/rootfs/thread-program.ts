/** The program of the threads: see `threads.ts`. */
import { MessagePort } from 'node:worker_threads';
import * as z from 'zod';
import { buildImage } from './build-image.ts';
import { type ThreadFailure, toThreadFailure } from './error.ts';
import { digestOf } from './file-digest.ts';
import { GrowingFile } from './layer/growing-file.ts';
import { decodeBlob } from './layer/layer-decoder.ts';
import { imageLimits, layerLimits } from './layer/limits.ts';

type Answer = { kind: 'done'; result: unknown } | { kind: 'failed'; failure: ThreadFailure };

const decodeInput = z.object({
  input: z.object({
    source: z.string(),
    size: z.number(),
    available: z.number(),
    compressedDigest: z.string(),
    diffId: z.string(),
    outDirectory: z.string(),
    limits: layerLimits,
  }),
  /** On which the number of bytes in the file is announced, and answered with how many have been read. */
  port: z.instanceof(MessagePort),
});

/** Made once, since making one takes 20 to 40 µs, and there is a message for every quarter of a megabyte. */
const bytesThere = z.number();

const buildInput = z.object({
  input: z.object({
    layers: z.array(z.string()),
    output: z.string(),
    sizeBytes: z.number().optional(),
    limits: imageLimits,
  }),
  /** On which the data to be copied is announced. */
  port: z.instanceof(MessagePort),
});

const digestInput = z.object({ input: z.string() });

/** See `decodeLayer`. */
export function decode(run: unknown): Promise<Answer> {
  return answer(async () => {
    const { input, port } = decodeInput.parse(run);
    const { source, size, available, ...layer } = input;
    const file = new GrowingFile(source, size, available, (bytes) => port.postMessage(bytes));
    port.on('message', (bytes: unknown) => file.announce(bytesThere.parse(bytes)));
    try {
      return await decodeBlob(layer, file);
    } finally {
      port.close();
    }
  });
}

/** See `buildRootfs`. */
export function build(run: unknown): Promise<Answer> {
  return answer(async () => {
    const { input, port } = buildInput.parse(run);
    try {
      return buildImage(input, (copies) => port.postMessage(copies));
    } finally {
      port.close();
    }
  });
}

/** See `fileDigest`. */
export function digest(run: unknown): Promise<Answer> {
  return answer(async () => digestOf(digestInput.parse(run).input));
}

/** Errors cross threads as plain values, which keep their code. */
async function answer(work: () => Promise<unknown>): Promise<Answer> {
  try {
    return { kind: 'done', result: await work() };
  } catch (error) {
    return { kind: 'failed', failure: toThreadFailure(error) };
  }
}
