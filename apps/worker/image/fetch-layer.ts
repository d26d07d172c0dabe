import { decodeLayer } from '@bhatti/rootfs';
import { tidy } from '../housekeeping/tidy.ts';
import { describeFailure, WorkerError } from '../job/failure.ts';
import type { PullServices } from '../services.ts';
import { discard } from './discard.ts';
import { GrowingFile } from './growing-file.ts';
import type { ImageSource, SourceImage } from './image-source.ts';
import { together } from './together.ts';

export type ImageLayer = SourceImage['layers'][number];

export interface FetchLayerOptions {
  readonly source: ImageSource;
  readonly layer: ImageLayer;
  readonly signal: AbortSignal;
  /** Bytes of the blob that are on disk. */
  readonly onBytes: (bytes: number) => void;
}

/** The bytes on disk are not the blob: they are useless, and another download may bring the right ones. */
const WRONG_BYTES = new Set(['digest_mismatch', 'size_mismatch']);

/**
 * Brings a layer into the cache: downloads its blob to a partial file (continuing one that is there) while a thread decodes
 * what has arrived. Wrong bytes are discarded and fetched once more: a crash may have damaged the partial file, or a mirror
 * or proxy answered for the registry.
 */
export async function fetchLayer(services: PullServices, options: FetchLayerOptions): Promise<void> {
  const { digest } = options.layer.descriptor;
  const discardPartial = () => tidy(services, () => services.store.partials.remove(digest));
  for (let again = false; ; again = true) {
    try {
      await downloadAndDecode(services, options, again);
      break;
    } catch (error) {
      const { code, message } = describeFailure(error);
      if (options.signal.aborted) throw error;
      if (!WRONG_BYTES.has(code)) throw error;
      await discardPartial();
      if (again) throw error;
      // An archive would give the same bytes again.
      if (options.source.kind === 'archive') {
        throw new WorkerError('layer_corrupt', `the uploaded archive is damaged: ${message}`, { cause: error });
      }
    }
  }
  services.sync.request();
  await discardPartial();
}

async function downloadAndDecode(services: PullServices, options: FetchLayerOptions, again: boolean): Promise<void> {
  const { store, decodeSlots } = services;
  const { source, layer } = options;
  const { digest, size } = layer.descriptor;
  const path = store.partials.path(digest);
  const file = new GrowingFile(size);
  await store.partials.prepare();
  const bytesBefore = await store.partials.size(digest);
  let bytesThere = bytesBefore;
  const cached = await store.layers.begin(layer.diffId);
  try {
    await together(options.signal, [
      async (signal) => {
        const onBytes = (bytes: number) => {
          bytesThere = bytes;
          file.grown(bytes);
          options.onBytes(bytes);
        };
        await source.download(layer.descriptor, path, { signal, onBytes, again });
        onBytes(size);
      },
      (signal) =>
        decodeSlots.run(file, signal, async () => {
          await decodeLayer({
            source: path,
            size,
            compressedDigest: digest,
            diffId: layer.diffId,
            outDirectory: cached.directory,
            limits: services.limits.layer,
            available: (listener) => file.follow(listener),
            onRead: (bytes) => file.readUpTo(bytes),
            signal,
          });
        }),
    ]);
    await cached.publish();
  } catch (error) {
    await discard(cached);
    throw error;
  } finally {
    if (source.kind === 'registry') services.metrics.count('downloaded', {}, bytesThere - bytesBefore);
  }
}
