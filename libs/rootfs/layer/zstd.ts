import { Duplex } from 'node:stream';
import { Decompress } from 'fzstd';
import { RootfsError } from '../error.ts';
import { ZSTD_WINDOW_LIMIT, ZstdWindows } from './zstd-window.ts';

/** A block of 4 bytes can stand for 128 KiB: a megabyte of such blocks were 32 GB in memory at once, these are 32 MiB. */
const INPUT_SLICE = 1024;
/**
 * Bytes after which the event loop has a turn. Who listens for data always wants more, and puts off what to do with it (`consume`): a
 * blob of 33 KB that stood for 1 GiB was in memory whole, 2.2 GB with what it left behind.
 */
const OUTPUT_OF_TURN = 1024 * 1024;

type Callback = (error?: Error | null) => void;

/**
 * A zstd decompressor as a stream (RFC 8878), concatenated frames included. Node 20 has none of its own and the
 * native packages need install scripts, so this is fzstd: plain JavaScript, several times slower than gzip's inflate.
 * It goes on only when what it gave is wanted, in turns, and holds a window of `ZSTD_WINDOW_LIMIT` at most.
 */
export function createZstdDecompress(): Duplex {
  return new ZstdDecompress({ readableHighWaterMark: 256 * 1024 });
}

class ZstdDecompress extends Duplex {
  readonly #windows = new ZstdWindows();
  readonly #decoder = new Decompress((chunk) => this.#give(chunk));
  #input: Buffer = Buffer.alloc(0);
  #taken: Callback | undefined;
  #isWanted = false;
  #isRunning = false;
  /** Bytes given in this turn of the event loop. */
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

  /** Slice by slice, until the input is used up, nothing more is wanted, or it is the next turn's. Pushing may ask for more at once. */
  #run(): void {
    const taken = this.#taken;
    if (this.#isRunning || taken === undefined) return;
    this.#isRunning = true;
    let failure: Error | undefined;
    try {
      while (this.#isWanted && this.#given < OUTPUT_OF_TURN && this.#input.length > 0) {
        const slice = this.#input.subarray(0, INPUT_SLICE);
        this.#input = this.#input.subarray(slice.length);
        checkWindow(this.#windows.push(slice));
        this.#decoder.push(slice);
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

  /** After what others have put off until then, so that it is done with what they were given. */
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

/** @throws RootfsError `layer_too_large` */
function checkWindow(bytes: number): void {
  if (bytes <= ZSTD_WINDOW_LIMIT) return;
  const megabytes = (size: number) => `${Math.ceil(size / 2 ** 20)} MiB`;
  throw new RootfsError(
    'layer_too_large',
    `a layer's zstd data takes a window of ${megabytes(bytes)} of memory to unpack; ${megabytes(ZSTD_WINDOW_LIMIT)} is the limit, as zstd's own: it has to be compressed without --long`,
  );
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
