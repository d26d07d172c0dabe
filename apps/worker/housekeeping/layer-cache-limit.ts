import { isCurrentLayer } from '@bhatti/rootfs';
import { type EvictOptions, evictLayer, evictLayers, type Store } from '@bhatti/store';
import { type RedisClient, type TaskClaims, takeLease, withLease } from '@bhatti/tasks';
import type { Logger } from 'pino';

/** One evictor at a time, on whatever host: two would remove twice as much as is needed. */
const EVICTION_LEASE = 'layer-eviction';

/** Ms without use after which a layer of another version may go: during an upgrade, workers of both versions run. */
const UNUSED_FOR = 24 * 3600 * 1000;

export interface LayerCacheLimitOptions {
  readonly store: Store;
  readonly redis: RedisClient;
  readonly claims: TaskClaims;
  /** Bytes on disk that cached layers may take, `Infinity` for no limit. */
  readonly limit: number;
  readonly logger: Logger;
}

/** Keeps the cache of layers small enough: least recently used ones go, never one that a task under way needs. */
export class LayerCacheLimit {
  readonly #options: LayerCacheLimitOptions;

  constructor(options: LayerCacheLimitOptions) {
    this.#options = options;
  }

  /** Brings the cache below its limit, unless another process is doing so already. */
  async enforce(): Promise<void> {
    const { store, redis, limit } = this.#options;
    if (limit === Number.POSITIVE_INFINITY) return;
    const lease = await takeLease(redis, EVICTION_LEASE);
    if (lease === null) return;
    try {
      const entries = await store.layers.list();
      const total = entries.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
      if (total > limit) await this.#evict({ bytes: total - limit, entries });
    } finally {
      await lease.release();
    }
  }

  /** Evicts cached layers until `bytes` are free on the disk, or none if that would not be enough. */
  async makeRoom(bytes: number, signal: AbortSignal): Promise<void> {
    const { store, redis } = this.#options;
    const hasRoom = async () => (await store.freeBytes()) >= bytes || undefined;
    await withLease(redis, EVICTION_LEASE, { signal, recheck: hasRoom }, async () => {
      await this.#evict({ bytes: bytes - (await store.freeBytes()), onlyIfEnough: true });
      return true;
    });
  }

  /** Removes layers of versions that read tars differently, unless such a version still uses them. */
  async removeOutdated(): Promise<void> {
    const { store, claims, logger } = this.#options;
    for (const { hex, lastUsed, allocatedBytes } of await store.layers.list()) {
      if (Date.now() - lastUsed.getTime() < UNUSED_FOR) continue;
      // One that cannot be read is left to the limit: the reason may be temporary.
      if (await isCurrentLayer(store.layers.directory(hex)).catch(() => true)) continue;
      if (!(await evictLayer(store.layers, `sha256:${hex}`, (diffId) => claims.isWanted(diffId)))) continue;
      logger.info({ layer: `sha256:${hex}`, bytes: allocatedBytes, lastUsed }, 'layer of another version removed');
    }
  }

  async #evict(options: Omit<EvictOptions, 'isNeeded'>): Promise<void> {
    const { store, claims, logger } = this.#options;
    const isNeeded = (diffId: string) => claims.isWanted(diffId);
    const removed = await evictLayers(store.layers, { ...options, isNeeded });
    for (const { hex, allocatedBytes, lastUsed } of removed) {
      logger.info({ layer: `sha256:${hex}`, bytes: allocatedBytes, lastUsed }, 'layer evicted from the cache');
    }
  }
}
