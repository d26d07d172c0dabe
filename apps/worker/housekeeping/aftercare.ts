import { removeCredentials, type TaskJob, type TaskQueue } from '@bhatti/tasks';
import type { Outcomes } from '../job/outcome.ts';
import { releaseClaims } from '../job/task-layers.ts';
import type { WorkerDeaths } from '../job/worker-deaths.ts';
import type { PullServices } from '../services.ts';
import { freePartials } from './partials.ts';
import { tidy } from './tidy.ts';

export interface AftercareOptions {
  readonly services: PullServices;
  readonly queue: TaskQueue;
  readonly outcomes: Outcomes;
  readonly deaths: WorkerDeaths;
}

/**
 * Cleans up after tasks that have ended: only their record may stay. The processor has done so already, except where BullMQ
 * itself ended the task (its workers died again and again), or a cancellation rewrote its data just as it ended.
 */
export class Aftercare {
  readonly #options: AftercareOptions;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: AftercareOptions) {
    this.#options = options;
  }

  ended(job: TaskJob | undefined): void {
    // Without a time of its end it will be tried again.
    if (job?.id === undefined || job.finishedOn === undefined) return;
    const { id } = job;
    const { logger } = this.#options.services;
    const care = this.#clear(id)
      .catch((error: unknown) => logger.warn({ err: error, task_id: id }, 'cannot clear what an ended task left'))
      .finally(() => this.#underWay.delete(care));
    this.#underWay.add(care);
  }

  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #clear(id: string): Promise<void> {
    const { services, queue, outcomes, deaths } = this.#options;
    const job = await queue.getJob(id);
    // This worker had lost it: it is another's now.
    if (job !== undefined && job.finishedOn === undefined) return;
    await freePartials(services, id);
    await releaseClaims(services, id);
    if (job !== undefined) await removeCredentials(job);
    await tidy(services, () => services.store.uploads.remove(id));
    await outcomes.forget(id);
    await deaths.forget(id);
    await services.layerCache.enforce();
  }
}
