import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import * as z from 'zod';
import { runOnThread } from './threads.ts';

/** Bytes of one read. */
const CHUNK = 1024 * 1024;

/**
 * SHA-256 of a file, in hex, taken on a worker thread. Holes count as the zeros they are read as, which takes the processor as long
 * as data does.
 *
 * @throws RootfsError `cancelled`, `internal` with the system's words when the file cannot be read
 */
export function fileDigest(path: string, signal?: AbortSignal): Promise<string> {
  return runOnThread({ work: 'digest', input: path, result: z.string(), signal });
}

/** The work of `fileDigest`, without a break: for a thread of its own. */
export function digestOf(path: string): string {
  const descriptor = openSync(path, 'r');
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafeSlow(CHUNK);
    for (let bytes = readSync(descriptor, buffer); bytes > 0; bytes = readSync(descriptor, buffer))
      hash.update(buffer.subarray(0, bytes));
    return hash.digest('hex');
  } finally {
    closeSync(descriptor);
  }
}
