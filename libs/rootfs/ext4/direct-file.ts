import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { systemCode } from '../error.ts';

/** Milliseconds after which the disk's speed is judged: a journal commit may delay even a fast one for 170. */
const TRIAL = 250;

/** Bytes per millisecond (400 MB/s). A slower disk is written through the page cache, which takes 1 to 3 GB/s and is flushed later. */
const FAST_ENOUGH = 400_000;

/** The part that is used here: it is missing from Node's types, and in TypeScript's it comes only with those of a browser. */
declare const WebAssembly: { readonly Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer } };
const WASM_PAGE = 65_536;

/**
 * A page-aligned buffer, as O_DIRECT requires (open(2)). Node cannot allocate one, but WebAssembly's memory is mapped in whole pages.
 */
export function alignedBuffer(bytes: number): Buffer {
  const { buffer } = new WebAssembly.Memory({ initial: Math.ceil(bytes / WASM_PAGE) });
  return Buffer.from(buffer, 0, bytes);
}

/** If fewer than `fastEnough` bytes per millisecond are written on average after `trial` milliseconds, the page cache is used. */
export interface DiskTrial {
  readonly trial?: number;
  readonly fastEnough?: number;
}

/**
 * A file that is written bypassing the page cache (O_DIRECT, open(2)) for as long as the disk is about as fast as memory, and through
 * the page cache otherwise, also where the file system or its block size does not allow O_DIRECT. Decision 018 has the figures.
 */
export class DirectFile {
  readonly #path: string;
  readonly #trial: number;
  readonly #fastEnough: number;
  /** Undefined once the page cache is used. */
  #direct: FileHandle | undefined;
  #cached: Promise<FileHandle> | undefined;
  readonly #handles: FileHandle[] = [];
  #started: number | undefined;
  #bytes = 0;

  private constructor(path: string, { trial = TRIAL, fastEnough = FAST_ENOUGH }: DiskTrial) {
    this.#path = path;
    this.#trial = trial;
    this.#fastEnough = fastEnough;
  }

  /** Opens an existing file. */
  static async open(path: string, trial: DiskTrial = {}): Promise<DirectFile> {
    const file = new DirectFile(path, trial);
    try {
      file.#direct = await file.#open(constants.O_RDWR | constants.O_DIRECT);
    } catch (error) {
      if (!isDirectUnsupported(error)) throw error;
      await file.#throughCache();
    }
    return file;
  }

  /** Whether the page cache is still bypassed. */
  get isDirect(): boolean {
    return this.#direct !== undefined;
  }

  /**
   * Writes the first `bytes` of an `alignedBuffer` at a byte offset; both are multiples of 4096. Calls may run concurrently.
   *
   * @throws system errors of writing (ENOSPC, EIO, …)
   */
  async write(buffer: Buffer, bytes: number, position: number): Promise<void> {
    this.#started ??= performance.now();
    const direct = this.#direct;
    if (direct === undefined) return writeWhole(await this.#throughCache(), buffer, bytes, position);
    try {
      await writeWhole(direct, buffer, bytes, position);
    } catch (error) {
      if (!isDirectUnsupported(error)) throw error;
      await writeWhole(await this.#throughCache(), buffer, bytes, position);
    }
    this.#bytes += bytes;
    const milliseconds = performance.now() - this.#started;
    if (milliseconds >= this.#trial && this.#bytes < milliseconds * this.#fastEnough) await this.#throughCache();
  }

  async close(): Promise<void> {
    await Promise.all(this.#handles.map((handle) => handle.close()));
  }

  #throughCache(): Promise<FileHandle> {
    // Writes in progress keep the old handle, which `close` closes.
    this.#direct = undefined;
    this.#cached ??= this.#open('r+');
    return this.#cached;
  }

  async #open(flags: string | number): Promise<FileHandle> {
    const handle = await open(this.#path, flags);
    this.#handles.push(handle);
    return handle;
  }
}

/** Whether the file system does not support O_DIRECT (some network and memory ones), or only in larger blocks. */
export function isDirectUnsupported(error: unknown): boolean {
  return systemCode(error) === 'EINVAL';
}

async function writeWhole(file: FileHandle, buffer: Buffer, length: number, position: number): Promise<void> {
  for (let at = 0; at < length; ) at += (await file.write(buffer, at, length - at, position + at)).bytesWritten;
}
