import * as z from 'zod';
import type { DecodedLayer, LayerToDecode } from './layer/layer-decoder.ts';
import { DEFAULT_LIMITS, type LayerLimits } from './layer/limits.ts';
import { runOnThread } from './threads.ts';

export type { DecodedLayer } from './layer/layer-decoder.ts';

export interface DecodeOptions extends Omit<LayerToDecode, 'limits'> {
  /** Merged into `DEFAULT_LIMITS`. */
  readonly limits?: Partial<LayerLimits> | undefined;
  /** Path of the file with the blob's bytes, which may still be growing (and need not exist yet). */
  readonly source: string;
  /** Bytes of the whole blob. */
  readonly size: number;
  /**
   * Subscribes a listener to the number of bytes in the file: it is called at once and each time the file has grown. Returns a function
   * that unsubscribes it. Left out, the file is complete.
   */
  readonly available?: (listener: (bytes: number) => void) => () => void;
  /** Called with the number of bytes read so far, at least once per megabyte. */
  readonly onRead?: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

const decoded = z.object({ entries: z.number(), tarBytes: z.number() });
const bytesRead = z.number();

/**
 * Decodes a layer blob into `outDirectory/{data,index}` on a worker thread, following the file while it is downloaded.
 *
 * @throws RootfsError `digest_mismatch` (the bytes are not the expected ones: fetch them again), `layer_corrupt`,
 * `path_escapes_root`, `layer_too_large`, `expansion_too_large` (see `limits`), `no_space`, `cancelled`
 */
export async function decodeLayer(options: DecodeOptions): Promise<DecodedLayer> {
  const { available, onRead = () => {}, signal, limits, ...input } = options;
  let stop = () => {};
  try {
    return await runOnThread({
      work: 'decode',
      input: {
        ...input,
        limits: { ...DEFAULT_LIMITS, ...limits },
        available: available === undefined ? options.size : 0,
      },
      result: decoded,
      signal,
      onStart: (send) => {
        if (available !== undefined) stop = available((bytes) => send(bytes));
      },
      onMessage: (message) => onRead(bytesRead.parse(message)),
    });
  } finally {
    stop();
  }
}
