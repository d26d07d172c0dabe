import { type FileHandle, open } from 'node:fs/promises';
import type { Flow } from '../connection/exchange.ts';
import type { OciError } from '../error.ts';
import { errorCode, fileError } from '../system-error.ts';
import { giveBack } from './chunk-memory.ts';

/**
 * Bytes gathered into one write. The socket yields 64 KiB at a time; a write for each would cost more in system calls and
 * thread switches than the copying itself.
 */
const BATCH_BYTES = 1024 * 1024;
/** Bytes in memory at which the sender is paused: enough to read on while a batch is written. */
const HELD_BYTES = 4 * BATCH_BYTES;
/** A batch that does not fill up is written after this long, so that slow links show progress, and a crash loses little. */
const LINGER_MS = 20;
/** Longest list for one writev (IOV_MAX on Linux). */
const CHUNKS_PER_WRITE = 1024;
const CANNOT_WRITE = 'cannot write the download to the data directory';

/**
 * A file that a blob is appended to while others read it. Writes are batched, overlap with receiving, and use a bounded amount of
 * memory. Nothing is fsynced: what a power failure loses is fetched again.
 */
export class PartialFile {
  readonly #handle: FileHandle;
  readonly #onBytes: (totalBytes: number) => void;
  #length: number;
  #chunks: Buffer[] = [];
  #held = 0;
  #isWriting = false;
  #isFlushing = false;
  #failure: OciError | undefined;
  #heldBack: Flow | undefined;
  #timer: NodeJS.Timeout | undefined;
  #onIdle: (() => void) | undefined;

  private constructor(handle: FileHandle, length: number, onBytes: (totalBytes: number) => void) {
    this.#handle = handle;
    this.#length = length;
    this.#onBytes = onBytes;
  }

  /** Opens the file, keeping its content, or creates it. @throws OciError `no_space` or `internal` */
  static async open(path: string, onBytes: (totalBytes: number) => void): Promise<PartialFile> {
    try {
      // Not O_APPEND, with which Linux ignores the position of a write: a short write could not be completed in place.
      const handle = await open(path, 'r+').catch((error) => {
        if (errorCode(error) !== 'ENOENT') throw error;
        return open(path, 'w+', 0o600);
      });
      return new PartialFile(handle, (await handle.stat()).size, onBytes);
    } catch (error) {
      throw fileError(error, CANNOT_WRITE);
    }
  }

  /** Bytes in the file. */
  get length(): number {
    return this.#length;
  }

  /** Bytes in the file and on their way to it. */
  get accepted(): number {
    return this.#length + this.#held;
  }

  /** Takes ownership of a chunk without waiting; pauses the sender while too much is in memory. @throws OciError if an earlier write failed */
  append(chunk: Buffer, flow: Flow): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (this.#isBatch()) void this.#write();
    else this.#linger();
    if (this.#held >= HELD_BYTES && this.#heldBack === undefined) {
      this.#heldBack = flow;
      flow.pause();
    }
  }

  /** Resolves when everything appended is in the file. @throws OciError `no_space` or `internal` */
  async flush(): Promise<void> {
    this.#isFlushing = true;
    while (this.#failure === undefined && (this.#held > 0 || this.#isWriting)) {
      const idle = new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      void this.#write();
      await idle;
    }
    this.#isFlushing = false;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Truncates the file. */
  async clear(): Promise<void> {
    await this.#handle.truncate(0);
    this.#length = 0;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#handle.close();
  }

  #isBatch(): boolean {
    return this.#held >= BATCH_BYTES || this.#chunks.length >= CHUNKS_PER_WRITE;
  }

  /** Writes what is there after a moment. If a write is still on its way then, that one sees to the rest when it ends. */
  #linger(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#write();
    }, LINGER_MS);
  }

  /** After a failure no more: what comes later would be written where the bytes that were lost belong. */
  async #write(): Promise<void> {
    if (this.#isWriting || this.#failure !== undefined) return;
    this.#isWriting = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      do {
        const chunks = this.#chunks;
        this.#chunks = [];
        await this.#writeAll(chunks);
        for (const chunk of chunks) giveBack(chunk);
        this.#release();
        this.#onBytes(this.#length);
      } while (this.#isBatch() || (this.#isFlushing && this.#held > 0));
      if (this.#held > 0) this.#linger();
    } catch (error) {
      this.#failure = fileError(error, CANNOT_WRITE);
      this.#release();
    } finally {
      this.#isWriting = false;
      this.#onIdle?.();
    }
  }

  async #writeAll(chunks: Buffer[]): Promise<void> {
    let rest = chunks;
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev(rest.slice(0, CHUNKS_PER_WRITE), this.#length);
      this.#length += bytesWritten;
      this.#held -= bytesWritten;
      rest = afterBytes(rest, bytesWritten);
    }
  }

  #release(): void {
    const flow = this.#heldBack;
    if (flow === undefined || (this.#held >= BATCH_BYTES && this.#failure === undefined)) return;
    this.#heldBack = undefined;
    flow.resume();
  }
}

/** The chunks without their first `bytes` bytes. */
function afterBytes(chunks: Buffer[], bytes: number): Buffer[] {
  let skip = bytes;
  for (const [position, chunk] of chunks.entries()) {
    if (skip < chunk.length) return [chunk.subarray(skip), ...chunks.slice(position + 1)];
    skip -= chunk.length;
  }
  return [];
}
