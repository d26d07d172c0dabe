import type { KeyObject } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { createRegistryClient, type RegistryClientOptions } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import type { RedisClient } from '@bhatti/tasks';
import {
  checkRedisServer,
  connectRedis,
  createTaskQueue,
  createTaskRelay,
  FetchedLayers,
  liveTask,
  QUEUE_NAME,
  RunningTasks,
  removeCredentials,
  subscribeCancellations,
  TaskClaims,
  type TaskJob,
  type TaskQueue,
  type TaskWorker,
  takeUpLateRetries,
  WorkerMetrics,
  workerOptions,
} from '@bhatti/tasks';
import type { Tracing } from '@bhatti/tracing';
import { Worker } from 'bullmq';
import type { Logger } from 'pino';
import { Activity } from './activity.ts';
import { BackgroundWork } from './background-work.ts';
import { DecodeSlots } from './decode-slots.ts';
import type { UnpackLimits } from './environment.ts';
import { Housekeeping } from './housekeeping.ts';
import { JobLock } from './job-lock.ts';
import { LayerCacheLimit } from './layer-cache-limit.ts';
import { Outcomes } from './outcome.ts';
import type { Overlay } from './overlay.ts';
import { freePartials } from './partials.ts';
import { PullProcessor } from './pull-job.ts';
import { recordDigests } from './rootfs-digests.ts';
import type { PullServices } from './services.ts';
import type { StopReason } from './stop.ts';
import { releaseClaims } from './task-layers.ts';
import { taskLogger } from './task-log.ts';
import { recordAttempt } from './task-metrics.ts';
import { tidy } from './tidy.ts';
import { WorkerDeaths } from './worker-deaths.ts';

/** Decodes of a kind (see DecodeSlots) at once in a process, where the machine has as many processors. */
const DECODE_THREADS = 2;

/**
 * Milliseconds that files wait for a lull before they are synced all the same: what a power loss can take is fetched and built again,
 * but not much should be. A digest is missed by nobody but who asks for it.
 */
const SYNC_PATIENCE = 15_000;
const DIGEST_PATIENCE = 120_000;

/** Ms between looks for tasks whose next attempt a wrong clock has put off. */
const LATE_RETRIES_INTERVAL = 10_000;

export interface StartWorkerOptions {
  readonly store: Store;
  /** See `connectRedis`. */
  readonly redisUrl: string;
  /** Jobs at once. */
  readonly concurrency: number;
  /** Bytes on disk that cached layers may take; no limit where it is left out. */
  readonly cacheBytes?: number | undefined;
  /** Ms between two rounds of housekeeping, a day where it is left out. */
  readonly housekeepingInterval?: number | undefined;
  /** Opens sealed credentials. */
  readonly secretKey: KeyObject;
  readonly registry?: RegistryClientOptions;
  readonly limits?: UnpackLimits | undefined;
  /** Goes on top of every image. */
  readonly overlay?: Overlay | undefined;
  readonly logger: Logger;
  readonly tracing?: Tracing | undefined;
}

export interface RunningWorker {
  /** Hands running jobs back to the queue and ends. May be called again. */
  close(): Promise<void>;
}

/** Starts to take pulls from the queue. Resolves once it does, which takes as long as Redis is away. */
export async function startWorker(options: StartWorkerOptions): Promise<RunningWorker> {
  const { store, logger, secretKey } = options;
  const redis = connectRedis(options.redisUrl, {
    use: 'worker',
    name: 'bhatti-worker',
    onError: (error) => logger.warn({ err: error }, 'redis'),
  });
  await requireRedis(redis, logger);
  const queue = createTaskQueue(redis);
  const relay = createTaskRelay(redis, `worker ${process.pid}`);
  const registry = createRegistryClient({
    onRetry: ({ error, delayMs, failures }) =>
      taskLogger(logger).warn({ code: error.code, delay_ms: delayMs, failures }, `registry: ${error.message}`),
    ...options.registry,
  });
  const metrics = new WorkerMetrics(redis);
  const isLive = liveTask(queue);
  const claims = {
    partial: new TaskClaims(redis, 'partial', isLive),
    layer: new TaskClaims(redis, 'layer', isLive),
    rootfs: new TaskClaims(redis, 'rootfs', isLive),
  };
  const limit = options.cacheBytes ?? Number.POSITIVE_INFINITY;
  const layerCache = new LayerCacheLimit({ store, redis, claims: claims.layer, limit, logger });
  const stopping = new AbortController();
  const activity = new Activity();
  const inLull = (what: string, patience: number, work: () => Promise<void>) =>
    new BackgroundWork({ what, work, lull: () => activity.lull(patience, stopping.signal), logger });
  const services: PullServices = {
    store,
    registry,
    redis,
    claims,
    fetchedLayers: new FetchedLayers(redis),
    layerCache,
    decodeSlots: new DecodeSlots(Math.min(DECODE_THREADS, availableParallelism())),
    sync: inLull('sync', SYNC_PATIENCE, () => store.syncPending()),
    digests: inLull('take the digests of', DIGEST_PATIENCE, () => recordDigests(store, stopping.signal)),
    overlay: options.overlay,
    limits: options.limits ?? { layer: {}, image: {}, archive: {} },
    metrics,
    tracing: options.tracing,
    logger,
  };
  const outcomes = new Outcomes(redis);
  const deaths = new WorkerDeaths(redis);
  const processor = new PullProcessor({
    services,
    lock: new JobLock(redis),
    outcomes,
    deaths,
    secretKey,
    logger,
  });
  const running = new RunningTasks();
  const worker: TaskWorker = new Worker(
    QUEUE_NAME,
    (job: TaskJob, token) =>
      activity.during(() => running.run(job.id ?? '', (signal) => processor.process(job, token ?? '', signal))),
    {
      ...workerOptions({ connection: redis, concurrency: options.concurrency, telemetry: options.tracing?.queue }),
      autorun: false,
      // See JobLock.
      skipLockRenewal: true,
    },
  );
  worker.on('error', (error) => logger.warn({ err: error }, 'queue'));
  worker.on('stalled', (id) => {
    logger.warn({ task_id: id }, 'its worker died or hung; another takes it over');
    metrics.count('takeovers');
  });
  const aftercare = new Aftercare(services, queue, outcomes, deaths, logger);
  const attemptEnded = (job: TaskJob | undefined) => {
    recordAttempt(metrics, job);
    aftercare.ended(job);
  };
  worker.on('completed', attemptEnded);
  worker.on('failed', attemptEnded);

  const housekeeping = new Housekeeping({ services, isLive, logger });
  await housekeeping.start(options.housekeepingInterval);
  const retries = setInterval(() => {
    takeUpLateRetries(queue).catch((error: unknown) => logger.warn({ err: error }, 'cannot look for late retries'));
  }, LATE_RETRIES_INTERVAL);
  services.sync.request();
  services.digests.request();
  const cancellations = await subscribeCancellations(relay, queue, running);
  await worker.waitUntilReady();
  const taking = worker.run().catch((error: unknown) => logger.error({ err: error }, 'the queue worker ended'));

  const close = async () => {
    processor.stop();
    stopping.abort();
    clearInterval(retries);
    const closed = worker.close();
    running.stopAll('worker_stopping' satisfies StopReason);
    await closed;
    await taking;
    await aftercare.idle();
    await housekeeping.stop();
    await metrics.idle();
    await cancellations.close();
    await relay.close();
    await queue.close();
    await registry.close();
    redis.disconnect();
    await services.sync.idle();
    await services.digests.idle();
  };
  let closing: Promise<void> | undefined;
  return {
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

/** Waits for Redis, warns of settings that lose tasks. Rejects with TaskError when its version is too old. */
async function requireRedis(redis: RedisClient, logger: Logger): Promise<void> {
  try {
    const { product, warnings } = await checkRedisServer(redis);
    logger.info({ redis: product }, 'connected to Redis');
    for (const warning of warnings) logger.warn(warning);
  } catch (error) {
    // A connection that tries again for ever would keep the process.
    redis.disconnect();
    throw error;
  }
}

/**
 * Looks after tasks that have ended: nothing of them may stay but the record. The processor has done it, except for those
 * that BullMQ itself ended (a task whose workers died again and again), or whose data were written anew by a cancellation
 * that crossed their end.
 */
class Aftercare {
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
    // Without the time of its end it is to be tried again.
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
    // This worker had lost it: it is another's.
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
