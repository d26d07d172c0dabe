import type { Store } from '@bhatti/store';
import type { Logger } from 'pino';
import type { LayerCacheLimit } from './layer-cache-limit.ts';

/** Ms between two rounds. */
const DAY = 24 * 3600 * 1000;

/**
 * Removes what nothing owns any more, at the start and daily: what dead processes were making, partial downloads a week
 * old, root filesystems without a name, layers beyond the limit of the cache. Every worker does it; any number may at once.
 */
export class Housekeeping {
  readonly #store: Store;
  readonly #layerCache: LayerCacheLimit;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();

  constructor(store: Store, layerCache: LayerCacheLimit, logger: Logger) {
    this.#store = store;
    this.#layerCache = layerCache;
    this.#logger = logger;
  }

  /** Resolves after the first round. */
  async start(interval = DAY): Promise<void> {
    this.#timer = setInterval(() => {
      this.#round = this.#round.then(() => this.#clean());
    }, interval);
    this.#timer.unref();
    this.#round = this.#clean();
    await this.#round;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#round;
  }

  /** A failure costs disk only, until the next round. */
  async #clean(): Promise<void> {
    try {
      await this.#store.collectOrphans();
      await this.#store.removeUnreferenced();
      await this.#layerCache.enforce();
    } catch (error) {
      this.#logger.warn({ err: error }, 'cannot remove what nothing owns; tried again in a day');
    }
  }
}
