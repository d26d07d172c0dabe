import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { systemCode } from '../error.ts';

/** Milliseconds after which the disk is judged: a commit of its journal may hold up a fast one for 170. */
const TRIAL = 250;

/** Bytes a millisecond (400 MB/s). A slower disk is left to the page cache, which takes 1 to 3 GB/s and is brought to the disk later. */
const FAST_ENOUGH = 400_000;

/** The part of it that is used here; neither Node's types nor TypeScript's own, without a browser's, have it. */
declare const WebAssembly: { readonly Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer } };
const WASM_PAGE = 65_536;

/**
 * Memory that starts at a page's boundary, as O_DIRECT wants it (open(2)). Node has no way to ask for it; memory of WebAssembly is
 * mapped by whole pages.
 */
export function alignedBuffer(bytes: number): Buffer {
  const { buffer } = new WebAssembly.Memory({ initial: Math.ceil(bytes / WASM_PAGE) });
  return Buffer.from(buffer, 0, bytes);
}

/** A disk that takes fewer than `fastEnough` bytes a millisecond, on the average after `trial` milliseconds, is written through the page cache. */
export interface DiskTrial {
  readonly trial?: number;
  readonly fastEnough?: number;
}

/**
 * A file that is written past the page cache (O_DIRECT, open(2)) for as long as the disk takes it about as fast as memory would,
 * and through the page cache otherwise: also where the file system or its block size do not allow it. Decision 018 has the figures.
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

  /** Opens a file that is there. */
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

  /** Whether it is still written past the page cache. */
  get isDirect(): boolean {
    return this.#direct !== undefined;
  }

  /**
   * Writes the first `bytes` of a buffer of `alignedBuffer`, whole 4096-byte blocks, at a block's offset. Calls may overlap.
   *
   * @throws what writing throws (ENOSPC, EIO, …)
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
    // Writes under way keep their handle, which is closed at the end.
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

/** No O_DIRECT on this file system (some network and memory ones), or only in larger blocks. */
export function isDirectUnsupported(error: unknown): boolean {
  return systemCode(error) === 'EINVAL';
}

async function writeWhole(file: FileHandle, buffer: Buffer, length: number, position: number): Promise<void> {
  for (let at = 0; at < length; ) at += (await file.write(buffer, at, length - at, position + at)).bytesWritten;
}
