import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import {
  type Job,
  type JobsOptions,
  Queue,
  type QueueOptions,
  Relay,
  type Telemetry,
  type Worker,
  type WorkerOptions,
} from 'bullmq';
import type { ImportJobData, PullJobData, PullResult, TaskJobData } from './pull-task.ts';
import type { RedisClient } from './redis/redis-connection.ts';
import { createTaskId } from './task-id.ts';

/** Name of the BullMQ queue. */
export const QUEUE_NAME = 'images';

/** Prefix of every key. The braces are a hash tag: on a Redis Cluster, all keys are in one slot, as BullMQ's scripts require. */
export const KEY_PREFIX = '{bhatti}';

/** BullMQ's key of a job, or of a list of jobs. */
export function queueKey(name: string): string {
  return `${KEY_PREFIX}:${QUEUE_NAME}:${name}`;
}

/** Name of the jobs that pull an image. */
const PULL_JOB = 'pull';

/** Name of the jobs that import an image from an archive. */
const IMPORT_JOB = 'import';

export type TaskJobName = typeof PULL_JOB | typeof IMPORT_JOB;
export type TaskJob = Job<TaskJobData, PullResult, TaskJobName>;
/** With the type of the job instead of its data: BullMQ would make a type of job for each kind of data. */
export type TaskQueue = Queue<TaskJob, PullResult, TaskJobName>;
export type TaskWorker = Worker<TaskJobData, PullResult, TaskJobName>;

/** How long (in seconds), and how many, ended tasks can be looked up. */
const keepEnded = { age: 7 * 24 * 3600, count: 10_000 } as const;

/** Retries are for failures that may go away (`jobError` decides). Deaths of a worker do not count as attempts. */
const jobOptions = {
  attempts: 3,
  backoff: { type: 'exponential', delay: 2000, jitter: 0.5 },
  removeOnComplete: keepEnded,
  removeOnFail: keepEnded,
  stackTraceLimit: 3,
} as const satisfies JobsOptions;

/** Ms without renewal after which a running job counts as abandoned. */
export const LOCK_DURATION = 10_000;

/** Ms between checks for abandoned jobs: one is taken over at most `LOCK_DURATION + stalledInterval` after its worker has died. */
const stalledInterval = 3_000;

/** Worker deaths after which a task fails as `worker_crashed`: the next worker ends it, and reports which workers died when. */
export const MAX_DEATHS = 5;

/** If that worker dies too, BullMQ ends the task. */
const maxStalledCount = MAX_DEATHS;

/** Ms between attempts to fetch or finish a job while Redis is unreachable; BullMQ's default of 15 s would delay later tasks. */
const redisRetryDelay = 2_000;

/** The connection that each queue was made with, which BullMQ does not expose. */
const connections = new WeakMap<object, RedisClient>();

/** The connection of a queue made by `createTaskQueue`, for commands that BullMQ has no method for. */
export function connectionOf(queue: TaskQueue): RedisClient {
  const connection = connections.get(queue);
  if (connection === undefined) throw new TypeError('the queue was not made by createTaskQueue');
  return connection;
}

/**
 * The queue of tasks. The connection remains the caller's: `close()` does not end it. Commands are sent without waiting for the
 * connection to be ready, so that they time out like any others. With telemetry, jobs carry their trace.
 */
export function createTaskQueue(connection: RedisClient, telemetry?: Telemetry): TaskQueue {
  const options: QueueOptions = {
    connection,
    prefix: KEY_PREFIX,
    defaultJobOptions: jobOptions,
    skipWaitingForReady: true,
    // BullMQ would check once, and be broken for good if Redis were unreachable then. See `checkRedisServer`.
    skipVersionCheck: true,
    ...(telemetry === undefined ? {} : { telemetry }),
  };
  const queue: TaskQueue = new Queue(QUEUE_NAME, options);
  // Every call reports its own failure; without a listener Node would end the process for a lost connection.
  queue.on('error', () => {});
  connections.set(queue, connection);
  return queue;
}

export interface TaskWorkerOptions {
  /** Made with `use: 'worker'`. */
  readonly connection: RedisClient;
  /** Jobs processed at the same time. Default 2. */
  readonly concurrency?: number;
  /** Shown to operators as the worker of a job. Default `host:pid`. */
  readonly name?: string;
  /** Continues the traces that jobs carry. */
  readonly telemetry?: Telemetry | undefined;
}

/** The options for `new Worker(QUEUE_NAME, processor, workerOptions(…))`. A processor works in `RunningTasks`, which tell it to stop. */
export function workerOptions(options: TaskWorkerOptions): WorkerOptions {
  return {
    connection: options.connection,
    prefix: KEY_PREFIX,
    name: options.name ?? `${hostname()}:${process.pid}`,
    concurrency: options.concurrency ?? 2,
    lockDuration: LOCK_DURATION,
    stalledInterval,
    maxStalledCount,
    runRetryDelay: redisRetryDelay,
    removeOnComplete: keepEnded,
    removeOnFail: keepEnded,
    ...(options.telemetry === undefined ? {} : { telemetry: options.telemetry }),
  };
}

/** Ms that the relay's connection blocks: less than the command timeout of a connection for requests. */
const relayBlockTimeout = 2_000;

/** The relay that carries cancellations. Close it before its connection. */
export function createTaskRelay(connection: RedisClient, name?: string): Relay {
  const relay = new Relay({
    connection,
    prefix: KEY_PREFIX,
    namespace: QUEUE_NAME,
    blockTimeout: relayBlockTimeout,
    skipVersionCheck: true,
    ...(name === undefined ? {} : { name }),
  });
  relay.on('error', () => {});
  return relay;
}

export interface EnqueuedPull {
  readonly id: string;
  /** False when an identical pull was in progress, whose task this is. */
  readonly created: boolean;
}

export interface EnqueueOptions {
  /** Id for the new task. If a task has it already, no other one is made. */
  readonly id?: string;
  /** See `takeTurn`. */
  readonly priority?: number;
}

/** The task of an identical pull that is in progress; null when there is none. */
export async function findPullUnderWay(queue: TaskQueue, data: PullJobData): Promise<string | null> {
  const id = await queue.getDeduplicationJobId(pullIdentity(data));
  if (id === null) return null;
  // Somebody may have removed the job with a tool that does not know BullMQ's keys. The stale deduplication key is not removed here, since
  // by now it may belong to another pull. BullMQ replaces it atomically when the next pull is added.
  return (await connectionOf(queue).exists(queueKey(id))) === 1 ? id : null;
}

/** Wakes a worker that waits for tasks, which BullMQ does not do when a prioritized job is returned (moveJobFromActiveToWait). */
export async function wakeWorkers(redis: RedisClient): Promise<void> {
  await redis.zadd(queueKey('marker'), 0, '0');
}

/**
 * Adds a pull to the queue, unless an identical one (owner, reference, name, platform, size, force) is in progress. Pulls with
 * credentials are never identical, since these are sealed differently each time.
 */
export async function enqueuePull(
  queue: TaskQueue,
  data: PullJobData,
  { id: asked = createTaskId(), priority }: EnqueueOptions = {},
): Promise<EnqueuedPull> {
  const job = await queue.add(PULL_JOB, data, {
    jobId: asked,
    deduplication: { id: pullIdentity(data) },
    ...(priority === undefined ? {} : { priority }),
  });
  const id = job.id ?? asked;
  return { id, created: id === asked };
}

/**
 * Adds an import to the queue, after its upload has been stored under this id (`createTaskId`): an upload without a task can thus be
 * recognised as abandoned.
 */
export async function enqueueImport(
  queue: TaskQueue,
  data: ImportJobData,
  { id, priority }: EnqueueOptions & { readonly id: string },
): Promise<void> {
  await queue.add(IMPORT_JOB, data, { jobId: id, ...(priority === undefined ? {} : { priority }) });
}

/** Pulls with the same identity give the same image under the same name. */
function pullIdentity(data: PullJobData): string {
  const parts = [data.owner, data.reference, data.name, data.platform, data.sizeBytes, data.force, data.sealedAuth];
  return createHash('sha256')
    .update(JSON.stringify(parts.map((part) => part ?? null)))
    .digest('hex');
}
