import { type Lease, layerLease, takeLease } from '@bhatti/tasks';
import { tidy } from '../housekeeping/tidy.ts';
import type { PullServices } from '../services.ts';
import { hasLayer, removeOutdatedLayer } from './cached-layer.ts';
import { fetchLayer, type ImageLayer } from './fetch-layer.ts';
import type { ImageSource, SourceImage } from './image-source.ts';
import { wait } from './wait.ts';

/** Layers of one image that are fetched at the same time. */
const LAYERS_AT_ONCE = 4;

/** Milliseconds between looks at layers that other pulls are fetching. */
const BUSY_INTERVAL = 100;

export interface ProvideLayersOptions {
  readonly image: SourceImage;
  readonly source: ImageSource;
  readonly signal: AbortSignal;
  /** Rejects unless the task is still this worker's. */
  readonly requireOwned: () => Promise<void>;
  /** Called with the compressed bytes that are there of a layer, all of them for a cached one. */
  readonly onBytes: (digest: string, bytes: number) => void;
}

/** The image's layers, each once: an image may list a layer several times (empty ones, mostly). */
export function distinctLayers(image: SourceImage): ImageLayer[] {
  return [...new Map(image.layers.map((layer) => [layer.diffId, layer])).values()];
}

/**
 * Ensures that every layer of the image is in the layer cache. Fetches missing layers largest first, a few at once; waits
 * for those that another pull is fetching.
 *
 * @throws the first failure of a layer, after all others have ended
 */
export async function provideLayers(services: PullServices, options: ProvideLayersOptions): Promise<void> {
  await new LayerWork(services, options).run();
}

class LayerWork {
  readonly #services: PullServices;
  readonly #options: ProvideLayersOptions;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  /** Neither in the cache nor being fetched here, largest first. */
  #open: readonly ImageLayer[];
  /** Promises that never reject: a failure aborts the signal. */
  readonly #fetching = new Set<Promise<void>>();

  constructor(services: PullServices, options: ProvideLayersOptions) {
    this.#services = services;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.#open = distinctLayers(options.image).sort((a, b) => b.descriptor.size - a.descriptor.size);
  }

  async run(): Promise<void> {
    try {
      while (this.#open.length > 0 || this.#fetching.size > 0) {
        await this.#fillSlots();
        await this.#change();
        this.#signal.throwIfAborted();
      }
    } catch (error) {
      this.#failed.abort(error);
      await Promise.all(this.#fetching);
      throw error;
    }
  }

  /** Starts to fetch layers that nobody else is fetching, as many as may run at once. */
  async #fillSlots(): Promise<void> {
    for (const layer of this.#open) {
      if (this.#fetching.size >= LAYERS_AT_ONCE) return;
      const lease = await this.#claim(layer);
      if (lease !== undefined) this.#start(layer, lease);
    }
  }

  /** Resolves when a fetch here has ended, or it is time to look again at those of other pulls. */
  async #change(): Promise<void> {
    const changes = [...this.#fetching];
    if (this.#open.length > 0 && this.#fetching.size < LAYERS_AT_ONCE) changes.push(wait(BUSY_INTERVAL, this.#signal));
    if (changes.length > 0) await Promise.race(changes);
  }

  /** The lease for fetching the layer; undefined when it is in the cache (then it is done) or another pull fetches it. */
  async #claim(layer: ImageLayer): Promise<Lease | undefined> {
    const { store, redis } = this.#services;
    const { digest } = layer.descriptor;
    const cached = await hasLayer(store, layer.diffId);
    const partialBytes = await store.partials.size(digest);
    if (cached && partialBytes === 0) {
      await this.#done(layer);
      return undefined;
    }
    const lease = await takeLease(redis, layerLease(digest), { signal: this.#signal });
    if (lease === null) {
      if (cached) await this.#done(layer);
      else this.#options.onBytes(digest, partialBytes);
      return undefined;
    }
    try {
      if (!(await hasLayer(store, layer.diffId))) {
        await removeOutdatedLayer(store, layer.diffId);
        return lease;
      }
      // A crash between publishing the layer and removing its partial left that behind.
      await tidy(this.#services, () => store.partials.remove(digest));
    } catch (error) {
      // It would be renewed until this process ends.
      await lease.release();
      throw error;
    }
    await lease.release();
    await this.#done(layer);
    return undefined;
  }

  #start(layer: ImageLayer, lease: Lease): void {
    this.#open = this.#open.filter((open) => open !== layer);
    const fetching = this.#fetch(layer, lease)
      .catch((error: unknown) => this.#failed.abort(error))
      .finally(() => this.#fetching.delete(fetching));
    this.#fetching.add(fetching);
  }

  async #fetch(layer: ImageLayer, lease: Lease): Promise<void> {
    const { source, onBytes } = this.#options;
    try {
      await fetchLayer(this.#services, {
        source,
        layer,
        signal: AbortSignal.any([this.#signal, lease.lost]),
        onBytes: (bytes) => onBytes(layer.descriptor.digest, bytes),
      });
      await this.#done(layer);
    } catch (error) {
      // Another worker, which hung and woke up, or worked while this one hung, may have published the layer and removed the
      // partial file from under this download. Bytes written since then belong to nobody, so remove them here.
      const { store } = this.#services;
      const isThere = await hasLayer(store, layer.diffId);
      if (isThere) await tidy(this.#services, () => store.partials.remove(layer.descriptor.digest));
      if (this.#signal.aborted) throw error;
      if (isThere) return await this.#done(layer);
      if (!lease.lost.aborted) throw error;
      // This process hung, or Redis was away: another fetches the layer now, and often has the whole task.
      await this.#options.requireOwned();
      this.#open = [...this.#open, layer];
    } finally {
      await lease.release();
    }
  }

  async #done(layer: ImageLayer): Promise<void> {
    this.#open = this.#open.filter((open) => open !== layer);
    await this.#services.store.layers.touch(layer.diffId);
    this.#options.onBytes(layer.descriptor.digest, layer.descriptor.size);
  }
}
