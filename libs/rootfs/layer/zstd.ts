import { Duplex } from 'node:stream';
import { Decompress } from 'fzstd';
import { RootfsError } from '../error.ts';
import { ZSTD_WINDOW_LIMIT, ZstdWindows } from './zstd-window.ts';

/** Bytes given to the decoder at once. A block of 4 bytes can expand to 128 KiB: a megabyte would be 32 GB in memory, this is 32 MiB. */
const INPUT_SLICE = 1024;
/** Bytes of windows that the decoder may allocate at once: it frees none before a slice is done. */
const WINDOWS_OF_SLICE = 256 * 1024 * 1024;
/** Bytes of a frame, at least: magic number, descriptor, window, and the header of a block. */
const SMALLEST_FRAME = 9;
/**
 * Bytes of output after which the event loop gets a turn. A `data` listener always wants more, and defers its work (`consume`): without
 * this, a blob of 33 KB that expands to 1 GiB was in memory as a whole, 2.2 GB with the garbage.
 */
const OUTPUT_OF_TURN = 1024 * 1024;

type Callback = (error?: Error | null) => void;

/**
 * A zstd decompressor as a stream (RFC 8878), including concatenated frames. Node 20 has none, and the native packages need
 * install scripts, so this uses fzstd: plain JavaScript, several times slower than gzip's inflate. It respects backpressure,
 * yields to the event loop, and uses a window of at most `ZSTD_WINDOW_LIMIT`.
 */
export function createZstdDecompress(): Duplex {
  return new ZstdDecompress({ readableHighWaterMark: 256 * 1024 });
}

class ZstdDecompress extends Duplex {
  readonly #windows = new ZstdWindows();
  readonly #decoder = new Decompress((chunk) => this.#give(chunk));
  #input: Buffer = Buffer.alloc(0);
  #slice = INPUT_SLICE;
  #taken: Callback | undefined;
  #isWanted = false;
  #isRunning = false;
  /** Bytes of output in this turn of the event loop. */
  #given = 0;
  #isWaiting = false;

  override _write(chunk: Buffer, _encoding: string, callback: Callback): void {
    this.#input = chunk;
    this.#taken = callback;
    this.#run();
  }

  override _read(): void {
    this.#isWanted = true;
    this.#run();
  }

  override _final(callback: Callback): void {
    try {
      this.#decoder.push(new Uint8Array(0), true);
    } catch (error) {
      callback(asError(error));
      return;
    }
    this.push(null);
    callback();
  }

  #give(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#given += chunk.length;
    this.#isWanted = this.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
  }

  /**
   * Decompresses slice by slice until the input is used up, no more output is wanted, or the turn is over. Not reentrant: `push` may call
   * `_read` synchronously.
   */
  #run(): void {
    const taken = this.#taken;
    if (this.#isRunning || taken === undefined) return;
    this.#isRunning = true;
    let failure: Error | undefined;
    try {
      while (this.#isWanted && this.#given < OUTPUT_OF_TURN && this.#input.length > 0) {
        const slice = this.#input.subarray(0, this.#slice);
        this.#input = this.#input.subarray(slice.length);
        const window = this.#windows.push(slice);
        checkWindow(window);
        this.#slice = sliceFor(window);
        for (let at = 0; at < slice.length; at += this.#slice) this.#decoder.push(slice.subarray(at, at + this.#slice));
      }
    } catch (error) {
      failure = asError(error);
    }
    this.#isRunning = false;
    if (failure === undefined && this.#input.length > 0) {
      if (this.#isWanted && this.#given >= OUTPUT_OF_TURN) this.#runNextTurn();
      return;
    }
    this.#taken = undefined;
    taken(failure);
  }

  /** Continues after the immediates that are already queued, which process the output so far. */
  #runNextTurn(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    setImmediate(() => {
      this.#isWaiting = false;
      this.#given = 0;
      if (!this.destroyed) this.#run();
    });
  }
}

/** Bytes to give to the decoder at once: fewer where windows are large, as each frame gets one of its own. */
function sliceFor(window: number): number {
  const frames = Math.max(1, Math.floor(WINDOWS_OF_SLICE / Math.max(1, window)));
  return Math.min(INPUT_SLICE, frames * SMALLEST_FRAME);
}

/** @throws RootfsError `layer_too_large` */
function checkWindow(bytes: number): void {
  if (bytes <= ZSTD_WINDOW_LIMIT) return;
  const megabytes = (size: number) => `${Math.ceil(size / 2 ** 20)} MiB`;
  throw new RootfsError(
    'layer_too_large',
    `a layer's zstd data takes a window of ${megabytes(bytes)} of memory to unpack; ${megabytes(ZSTD_WINDOW_LIMIT)} is the limit: compress it without --long, and below level 22`,
  );
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
