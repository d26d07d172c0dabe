import { removeCredentials, type TaskJob, type TaskQueue } from '@bhatti/tasks';
import type { Logger } from 'pino';
import type { Outcomes } from './outcome.ts';
import { freePartials } from './partials.ts';
import type { PullServices } from './services.ts';
import { releaseClaims } from './task-layers.ts';
import { tidy } from './tidy.ts';
import type { WorkerDeaths } from './worker-deaths.ts';

/**
 * Cleans up after tasks that have ended: only their record may stay. The processor has done so already, except where BullMQ
 * itself ended the task (its workers died again and again), or a cancellation rewrote its data just as it ended.
 */
export class Aftercare {
  readonly #services: PullServices;
  readonly #queue: TaskQueue;
  readonly #outcomes: Outcomes;
  readonly #deaths: WorkerDeaths;
  readonly #logger: Logger;
  readonly #underWay = new Set<Promise<void>>();

  constructor(services: PullServices, queue: TaskQueue, outcomes: Outcomes, deaths: WorkerDeaths, logger: Logger) {
    this.#services = services;
    this.#queue = queue;
    this.#outcomes = outcomes;
    this.#deaths = deaths;
    this.#logger = logger;
  }

  ended(job: TaskJob | undefined): void {
    // Without a time of its end it will be tried again.
    if (job?.id === undefined || job.finishedOn === undefined) return;
    const { id } = job;
    const care = this.#clear(id)
      .catch((error: unknown) => this.#logger.warn({ err: error, task_id: id }, 'cannot clear what an ended task left'))
      .finally(() => this.#underWay.delete(care));
    this.#underWay.add(care);
  }

  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #clear(id: string): Promise<void> {
    const job = await this.#queue.getJob(id);
    // This worker had lost it: it is another's now.
    if (job !== undefined && job.finishedOn === undefined) return;
    await freePartials(this.#services, id);
    await releaseClaims(this.#services, id);
    if (job !== undefined) await removeCredentials(job);
    await tidy(this.#services, () => this.#services.store.uploads.remove(id));
    await this.#outcomes.forget(id);
    await this.#deaths.forget(id);
    await this.#services.layerCache.enforce();
  }
}
