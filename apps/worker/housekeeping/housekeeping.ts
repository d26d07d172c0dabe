import { isArriving } from '@bhatti/tasks';
import type { PullServices } from '../services.ts';
import { collectUploads } from './collect-uploads.ts';
import { freeOldPartials } from './partials.ts';

/** Ms between two rounds. */
const DAY = 24 * 3600 * 1000;

export interface HousekeepingOptions {
  readonly services: PullServices;
  /** Whether a task still waits or runs. */
  readonly isLive: (taskId: string) => Promise<boolean>;
}

/**
 * Removes what nothing owns any more, at the start and daily: unfinished files of dead processes, partial downloads a week
 * old, uploads without a task, root filesystems without a name, and layers that only another version can use or that exceed
 * the limit of the cache. Every worker does so; any number may at once. Also starts over on published files that were not
 * synced, or have no digest yet, because a worker died or the disk failed.
 */
export class Housekeeping {
  readonly #options: HousekeepingOptions;
  #timer: NodeJS.Timeout | undefined;
  /** Undefined between two rounds. */
  #round: Promise<void> | undefined;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
  }

  /** Resolves after the first round. */
  async start(interval = DAY): Promise<void> {
    this.#timer = setInterval(() => this.#begin(), interval);
    this.#timer.unref();
    this.#begin();
    await this.#round;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#round;
  }

  /** Begins a round, unless one is under way: they would pile up on a disk that is slow, and `stop` would wait for all. */
  #begin(): void {
    this.#round ??= this.#clean().finally(() => {
      this.#round = undefined;
    });
  }

  /** A failure only costs disk space until the next round, and does not keep the other steps from running. */
  async #clean(): Promise<void> {
    const { services, isLive } = this.#options;
    const { store, layerCache, claims, redis, logger } = services;
    for (const step of [
      () => store.collectOrphans(),
      () => freeOldPartials(services),
      () => collectUploads(store, { isArriving: (id) => isArriving(redis, id), isLive }),
      () => store.removeUnreferenced({ isNeeded: (key) => claims.rootfs.isWanted(key) }),
      () => layerCache.removeOutdated(),
      () => layerCache.enforce(),
    ]) {
      try {
        await step();
      } catch (error) {
        logger.warn({ err: error }, 'cannot remove what nothing owns; tried again in the next round');
      }
    }
    services.sync.request();
    services.digests.request();
  }
}
