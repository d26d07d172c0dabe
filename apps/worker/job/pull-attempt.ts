import type { KeyObject } from 'node:crypto';
import { hostname } from 'node:os';
import { RecentlyTold } from '@bhatti/logging';
import { parseReference } from '@bhatti/oci';
import {
  counted,
  createProgressReporter,
  jobError,
  MAX_DEATHS,
  openCredentials,
  type PullResult,
  queueKey,
  removeCredentials,
  sealedAuthOf,
  type TaskJob,
  TaskJobData,
  wakeWorkers,
} from '@bhatti/tasks';
import { WaitingError } from 'bullmq';
import { freePartials } from '../housekeeping/partials.ts';
import { tidy } from '../housekeeping/tidy.ts';
import { ArchiveSource } from '../image/archive-source.ts';
import type { ImageSource } from '../image/image-source.ts';
import { makeImage } from '../image/make-image.ts';
import { registrySource } from '../image/registry-source.ts';
import type { PullServices } from '../services.ts';
import { AttemptLog } from './attempt-log.ts';
import { describeFailure, type Failure, WorkerError } from './failure.ts';
import type { JobLock } from './job-lock.ts';
import { JobOwnership } from './job-ownership.ts';
import type { Outcome, Outcomes } from './outcome.ts';
import { despiteRefusals, isPassingRefusal } from './redis-refusals.ts';
import type { JobStop } from './stop.ts';
import { releaseClaims, removeFetchedLayers } from './task-layers.ts';
import { withTaskLogger } from './task-log.ts';
import type { WorkerDeaths } from './worker-deaths.ts';

export interface PullAttemptOptions {
  readonly services: PullServices;
  readonly lock: JobLock;
  readonly outcomes: Outcomes;
  readonly deaths: WorkerDeaths;
  /** Opens sealed credentials. */
  readonly secretKey: KeyObject;
}

const goneFromRedis = 'the task is no longer in Redis: somebody deleted it, or Redis evicted it or lost its data';

/** One attempt at a task, by this worker: everything about the job but the making of the image. */
export class PullAttempt {
  readonly #options: PullAttemptOptions;
  readonly #job: TaskJob;
  readonly #id: string;
  readonly #token: string;
  readonly #stop: JobStop;
  readonly #log: AttemptLog;
  readonly #ownership: JobOwnership;

  constructor(options: PullAttemptOptions, job: TaskJob, token: string, stop: JobStop) {
    this.#options = options;
    this.#job = job;
    this.#id = job.id ?? '';
    this.#token = token;
    this.#stop = stop;
    this.#log = new AttemptLog(
      options.services.logger.child({ task_id: this.#id, request_id: job.data.requestId }),
      job,
    );
    this.#ownership = new JobOwnership(options.lock, this.#id, token, stop);
  }

  /** Throws the error that BullMQ is to record. */
  run(): Promise<PullResult> {
    return withTaskLogger(this.#log.logger, () => this.#run());
  }

  async #run(): Promise<PullResult> {
    let end = async () => {};
    try {
      end = await this.#begin();
      const result = await this.#despiteRefusals(() => this.#pull());
      await this.#log.note(
        `completed: ${result.digest}${result.reused === undefined ? '' : ` (${result.reused} reused)`}`,
      );
      return result;
    } catch (error) {
      // Without `end`: to the workers that took the job over, this one counts as dead.
      if (await this.#ownership.isLost()) return await this.#letGo();
      await end();
      if (this.#stop.reason === 'worker_stopping') return await this.#handBack();
      throw await this.#fail(error);
    }
  }

  /** Returns the function to call when this attempt ends by itself: its worker did not die. */
  async #begin(): Promise<() => Promise<void>> {
    const { deaths } = this.#options;
    const { attemptsMade, stalledCounter, opts } = this.#job;
    this.#stop.signal.throwIfAborted();
    const takenOver = stalledCounter > 0 ? `, its worker died or hung ${counted(stalledCounter, 'time')}` : '';
    await this.#log.note(
      `attempt ${attemptsMade + 1} of ${opts.attempts || 1} on ${hostname()}, pid ${process.pid}${takenOver}`,
    );
    if (stalledCounter < MAX_DEATHS) {
      return this.#despiteRefusals(() => deaths.begin(this.#id, `${hostname()}:${process.pid}`));
    }
    const dead = await deaths.of(this.#id);
    const who = dead.length > 0 ? ` (${dead.join('; ')})` : '';
    throw new WorkerError(
      'worker_crashed',
      `${stalledCounter} worker processes died or hung while they worked on this task${who}; their logs, or the kernel's, tell why`,
    );
  }

  #despiteRefusals<Result>(work: () => Promise<Result>): Promise<Result> {
    return despiteRefusals({ ownership: this.#ownership, log: this.#log, signal: this.#stop.signal }, work);
  }

  async #pull(): Promise<PullResult> {
    const ended = await this.#options.outcomes.recall(this.#id);
    if (ended?.kind === 'completed') return ended.result;
    if (ended?.kind === 'failed') throw new WorkerError(ended.failure.code, ended.failure.message);

    const data = await this.#readData();
    if (data.cancelRequested === true) this.#stop.stop('cancelled');
    this.#stop.signal.throwIfAborted();
    const told = new RecentlyTold();
    const reporter = createProgressReporter(this.#job, {
      onError: (error) => {
        if (told.isDue(String(error))) this.#log.logger.warn({ err: error }, 'cannot report progress');
      },
    });
    const source = this.#openSource(data);
    try {
      const result = await makeImage(this.#options.services, {
        id: this.#id,
        data,
        source,
        reporter,
        signal: this.#stop.signal,
        note: (line) => this.#log.note(line),
        requireOwned: () => this.#ownership.requireOwned(),
      });
      // This process may have hung once the image had its name, and must not remove what another works with.
      await this.#ownership.requireOwned();
      await this.#conclude({ kind: 'completed', result });
      return result;
    } finally {
      await this.#close(source);
      // Before the end is recorded, so that no progress follows it; not at all once the job is another's.
      if (this.#stop.reason !== 'lock_lost') await reporter.flush();
    }
  }

  async #readData(): Promise<TaskJobData> {
    const data = TaskJobData.safeParse(this.#job.data);
    if (data.success) return data.data;
    if (await this.#isGone()) throw new WorkerError('task_lost', `${goneFromRedis}; pull or import it again`);
    throw new WorkerError(
      'invalid_request',
      `the task was put on the queue by something else than this API: ${data.error.message}`,
    );
  }

  #openSource(data: TaskJobData): ImageSource {
    const { services, secretKey } = this.#options;
    const { signal } = this.#stop;
    if (data.type === 'import') {
      const { store, limits } = services;
      return new ArchiveSource({ store, limits: limits.archive, id: this.#id, data, signal });
    }
    const credentials =
      data.sealedAuth === undefined
        ? undefined
        : openCredentials(data.sealedAuth, secretKey, parseReference(data.reference).domain);
    return registrySource({ registry: services.registry, data, credentials, signal });
  }

  /** If this fails, its files are collected as orphans once this process has ended. */
  async #close(source: ImageSource): Promise<void> {
    try {
      await source.close();
    } catch (error) {
      this.#log.logger.warn({ err: error }, 'cannot close the source of the image');
    }
  }

  /** Returns the job to the front of the queue without using up an attempt; another worker continues from its bytes. */
  async #handBack(): Promise<never> {
    await this.#log.note('handed back: the worker stops');
    try {
      await this.#job.moveToWait(this.#token);
      await wakeWorkers(this.#options.services.redis);
    } catch (error) {
      if (!isPassingRefusal(error)) throw error;
      this.#log.logger.warn(
        { err: error },
        'Redis does not take the job back; another worker gets it once its lock has run out',
      );
    }
    throw new WaitingError();
  }

  /** The job is another worker's, or gone: nothing may be written to it any more. BullMQ refuses the end, too. */
  async #letGo(): Promise<never> {
    // Where Redis cannot tell, either, it is the same to this worker.
    if (await this.#isGone().catch(() => false)) {
      const message = `${goneFromRedis}; the next pull of this image finds what was finished here`;
      this.#log.logger.warn({ code: 'task_lost' }, message);
      throw new Error(`task_lost: ${goneFromRedis}`);
    }
    this.#log.logger.warn('the job was taken over by another worker, which finds what was finished here');
    throw new Error('worker_crashed: the job was taken over by another worker');
  }

  /** Whether Redis no longer has what to do. The key alone says little: BullMQ makes a job that is not there anew as it hands it out. */
  async #isGone(): Promise<boolean> {
    return (await this.#options.services.redis.hexists(queueKey(this.#id), 'data')) === 0;
  }

  async #fail(error: unknown): Promise<Error> {
    const failure = this.#failureOf(error);
    const { attemptsMade, opts } = this.#job;
    const isLast = !failure.retryable || attemptsMade + 1 >= (opts.attempts ?? 1);
    this.#log.failed(failure, error, isLast);
    if (await this.#ownership.isOwned()) {
      await this.#log.noteFailure(failure, isLast);
      if (isLast) await this.#concludeFailure(failure);
    }
    return jobError(failure);
  }

  /** A failure here must not hide that of the task; `Aftercare` repeats what was not done. */
  async #concludeFailure(failure: Failure): Promise<void> {
    try {
      await this.#conclude({ kind: 'failed', failure }, failure.retryable);
    } catch (error) {
      this.#log.logger.warn({ err: error }, 'cannot clear what only a task under way needs');
    }
  }

  #failureOf(error: unknown): Failure {
    if (this.#stop.reason === 'cancelled') {
      return { code: 'cancelled', message: 'the task was cancelled', retryable: false };
    }
    const failure = describeFailure(error);
    // Only a cancelled task may end as cancelled, whatever code a library gives.
    return failure.code === 'cancelled' ? { ...failure, code: 'internal', retryable: true } : failure;
  }

  /** Removes what only a task under way needs. Records its outcome first if that makes the job impossible to repeat. */
  async #conclude(outcome: Outcome, isRepeatable = false): Promise<void> {
    const { services, outcomes } = this.#options;
    const { data } = this.#job;
    if (data.type === 'import' || sealedAuthOf(data) !== undefined) {
      await outcomes.remember(this.#id, outcome);
      await removeCredentials(this.#job);
      await tidy(services, () => services.store.uploads.remove(this.#id));
    }
    // Where another try might have helped, but no attempts are left, downloads are kept: the user may pull again.
    if (isRepeatable) await services.claims.partial.release(this.#id);
    else await freePartials(services, this.#id);
    if (outcome.kind === 'failed' && outcome.failure.code === 'no_space') {
      await tidy(services, () => removeFetchedLayers(services, this.#id));
    }
    await releaseClaims(services, this.#id);
  }
}
