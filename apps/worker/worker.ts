import type { KeyObject } from 'node:crypto';
import type { RedisClient } from '@bhatti/tasks';
import {
  type CancellationSubscription,
  checkRedisServer,
  connectRedis,
  createTaskQueue,
  createTaskRelay,
  emptyUnreadableFields,
  liveTask,
  QUEUE_NAME,
  RunningTasks,
  subscribeCancellations,
  type TaskJob,
  type TaskQueue,
  type TaskWorker,
  workerOptions,
} from '@bhatti/tasks';
import { type Relay, Worker } from 'bullmq';
import type { Logger } from 'pino';
import { Activity } from './activity.ts';
import { Aftercare } from './housekeeping/aftercare.ts';
import { Housekeeping } from './housekeeping/housekeeping.ts';
import { JobLock } from './job/job-lock.ts';
import { watchLateRetries } from './job/late-retries.ts';
import { Outcomes } from './job/outcome.ts';
import { PullProcessor } from './job/pull-processor.ts';
import type { StopReason } from './job/stop.ts';
import { recordAttempt } from './job/task-metrics.ts';
import { WorkerDeaths } from './job/worker-deaths.ts';
import { RedisProblems } from './redis-problems.ts';
import { createPullServices, type PullServices, type PullServicesOptions } from './services.ts';

export interface StartWorkerOptions extends PullServicesOptions {
  /** See `connectRedis`. */
  readonly redisUrl: string;
  /** Jobs at once. */
  readonly concurrency: number;
  /** Ms between two rounds of housekeeping, a day where it is left out. */
  readonly housekeepingInterval?: number | undefined;
  /** Opens sealed credentials. */
  readonly secretKey: KeyObject;
}

export interface RunningWorker {
  /** Hands running jobs back to the queue and ends. May be called again. */
  close(): Promise<void>;
}

/** Starts to take pulls from the queue. Resolves once it does, which it cannot while Redis is away. */
export async function startWorker(options: StartWorkerOptions): Promise<RunningWorker> {
  const { redisUrl, logger, housekeepingInterval } = options;
  const problems = new RedisProblems(logger);
  const redis = connectRedis(redisUrl, {
    use: 'worker',
    name: 'bhatti-worker',
    onError: (error) => problems.tell(error, 'redis'),
  });
  redis.on('ready', () => problems.connected());
  redis.on('close', () => problems.disconnected());
  await requireRedis(redis, logger);
  const worker = new PullWorker(redis, problems, options);
  await worker.start(housekeepingInterval);
  return worker;
}

/** Waits for Redis, and warns of settings that lose tasks. Rejects with TaskError when its version is too old. */
async function requireRedis(redis: RedisClient, logger: Logger): Promise<void> {
  try {
    const { product, warnings } = await checkRedisServer(redis);
    logger.info({ redis: product }, 'connected to Redis');
    for (const warning of warnings) logger.warn(warning);
  } catch (error) {
    // A connection that retries for ever would keep the process alive.
    redis.disconnect();
    throw error;
  }
}

/** Names of the errors with which BullMQ fails to read a job: JSON that is none, or no object. */
const UNREADABLE: ReadonlySet<string> = new Set(['SyntaxError', 'TypeError']);

/** The parts of a worker process, from its start to its end. */
class PullWorker implements RunningWorker {
  readonly #redis: RedisClient;
  readonly #logger: Logger;
  readonly #queue: TaskQueue;
  readonly #relay: Relay;
  readonly #activity = new Activity();
  readonly #stopping = new AbortController();
  readonly #running = new RunningTasks();
  readonly #services: PullServices;
  readonly #processor: PullProcessor;
  readonly #aftercare: Aftercare;
  readonly #housekeeping: Housekeeping;
  readonly #worker: TaskWorker;
  #cancellations: CancellationSubscription | undefined;
  /** Settles when the queue worker takes no more jobs. */
  #taking: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(redis: RedisClient, problems: RedisProblems, options: StartWorkerOptions) {
    const { logger, secretKey } = options;
    this.#redis = redis;
    this.#logger = logger;
    this.#queue = createTaskQueue(redis);
    this.#relay = createTaskRelay(redis, `worker ${process.pid}`);
    const isLive = liveTask(this.#queue);
    const services = createPullServices(options, {
      redis,
      isLive,
      activity: this.#activity,
      stopping: this.#stopping.signal,
    });
    const outcomes = new Outcomes(redis);
    const deaths = new WorkerDeaths(redis);
    this.#services = services;
    this.#processor = new PullProcessor({ services, lock: new JobLock(redis), outcomes, deaths, secretKey });
    this.#aftercare = new Aftercare({ services, queue: this.#queue, outcomes, deaths });
    this.#housekeeping = new Housekeeping({ services, isLive });
    this.#worker = this.#createQueueWorker(options, problems);
  }

  async start(housekeepingInterval: number | undefined): Promise<void> {
    await this.#housekeeping.start(housekeepingInterval);
    void watchLateRetries(this.#queue, this.#logger, this.#stopping.signal);
    this.#cancellations = await subscribeCancellations(this.#relay, this.#queue, this.#running);
    await this.#worker.waitUntilReady();
    this.#taking = this.#worker
      .run()
      .catch((error: unknown) => this.#logger.error({ err: error }, 'the queue worker ended'));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { metrics, registry, sync, digests } = this.#services;
    this.#processor.stop();
    this.#stopping.abort();
    const closed = this.#worker.close();
    this.#running.stopAll('worker_stopping' satisfies StopReason);
    await closed;
    await this.#taking;
    await this.#aftercare.idle();
    await this.#housekeeping.stop();
    await metrics.idle();
    await this.#cancellations?.close();
    await this.#relay.close();
    await this.#queue.close();
    await registry.close();
    this.#redis.disconnect();
    await sync.idle();
    await digests.idle();
  }

  #createQueueWorker({ concurrency, tracing }: StartWorkerOptions, problems: RedisProblems): TaskWorker {
    const worker: TaskWorker = new Worker(
      QUEUE_NAME,
      (job: TaskJob, token) =>
        this.#activity.during(() =>
          this.#running.run(job.id ?? '', (signal) => this.#processor.process(job, token ?? '', signal)),
        ),
      {
        ...workerOptions({ connection: this.#redis, concurrency, telemetry: tracing?.queue }),
        autorun: false,
        // See JobLock.
        skipLockRenewal: true,
      },
    );
    worker.on('error', (error) => {
      problems.tell(error, 'queue');
      if (UNREADABLE.has(error.name)) void this.#emptyUnreadable();
    });
    worker.on('stalled', (id) => {
      this.#logger.warn({ task_id: id }, 'its worker died or hung; another takes it over');
      this.#services.metrics.count('takeovers');
    });
    const ended = (job: TaskJob | undefined) => {
      recordAttempt(this.#services.metrics, job);
      this.#aftercare.ended(job);
    };
    worker.on('completed', ended);
    worker.on('failed', ended);
    return worker;
  }

  /** BullMQ would give such a job to one worker after another. */
  async #emptyUnreadable(): Promise<void> {
    try {
      const emptied = await emptyUnreadableFields(this.#redis);
      if (emptied.length > 0)
        this.#logger.warn({ emptied }, 'emptied what was no JSON in tasks, which are taken up again');
    } catch (error) {
      this.#logger.warn({ err: error }, 'cannot look for tasks that cannot be read');
    }
  }
}
