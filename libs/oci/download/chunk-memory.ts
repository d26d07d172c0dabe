import { MessageChannel } from 'node:worker_threads';

/** A closed port: a buffer transferred to it is detached, as the HTML standard requires of every transfer, and dropped. */
const nowhere = new MessageChannel().port1;
nowhere.close();

/**
 * Frees the memory of a chunk at once rather than at the next garbage collection; the chunk is empty afterwards. Does nothing to a chunk
 * that shares its memory with other buffers, as the first of a response does with the head; nor to an empty one, which is undici's own:
 * it passes the same one each time that reading resumes after a pause, and breaks for good once that is detached.
 *
 * Each read of a socket allocates a new buffer. 390 MB of them made V8 mark its whole heap again and again: a cold pull took 5.1 s of CPU
 * and 249 MB; with this, 4.8 s and 224 MB (decision 020).
 */
export function giveBack(chunk: Buffer): void {
  const { buffer } = chunk;
  const isWhole = chunk.length > 0 && chunk.length === buffer.byteLength;
  if (isWhole && buffer instanceof ArrayBuffer) nowhere.postMessage(null, [buffer]);
}
