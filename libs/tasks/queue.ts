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
import type { RedisClient } from './redis-connection.ts';
import { createTaskId } from './task-id.ts';

/** Name of the BullMQ queue. */
export const QUEUE_NAME = 'images';

/** Prefix of every key. The braces are a hash tag: on a Redis Cluster all keys share one slot, as BullMQ's scripts need. */
export const KEY_PREFIX = '{bhatti}';

/** The key that BullMQ gives to a job, or to a list of jobs. */
export function queueKey(name: string): string {
  return `${KEY_PREFIX}:${QUEUE_NAME}:${name}`;
}

/** Name of the jobs that pull an image. */
const PULL_JOB = 'pull';

/** Name of the jobs that import an image from an archive. */
const IMPORT_JOB = 'import';

export type TaskJobName = typeof PULL_JOB | typeof IMPORT_JOB;
export type TaskJob = Job<TaskJobData, PullResult, TaskJobName>;
/** Given the job, not its data: BullMQ would make one type of job of each kind of data. */
export type TaskQueue = Queue<TaskJob, PullResult, TaskJobName>;
export type TaskWorker = Worker<TaskJobData, PullResult, TaskJobName>;

/** Ended tasks can be asked for this long, and operators can look at them. */
const keepEnded = { age: 7 * 24 * 3600, count: 10_000 } as const;

/** Retries are for failures that pass by themselves (`jobError` decides). Deaths of the worker do not count. */
const jobOptions = {
  attempts: 3,
  backoff: { type: 'exponential', delay: 2000, jitter: 0.5 },
  removeOnComplete: keepEnded,
  removeOnFail: keepEnded,
  stackTraceLimit: 3,
} as const satisfies JobsOptions;

/** Ms without renewal after which a running job counts as abandoned. */
export const LOCK_DURATION = 10_000;

/** Ms between looks for abandoned jobs: one is taken over at most `LOCK_DURATION + stalledInterval` after its worker died. */
const stalledInterval = 3_000;

/** So many deaths of its workers, and a task fails as `worker_crashed`: the next worker ends it, and says who died when. */
export const MAX_DEATHS = 5;

/** Should that one die of it, too, BullMQ ends the task. */
const maxStalledCount = MAX_DEATHS;

/** Ms between attempts to fetch or finish a job while Redis is away; BullMQ's own 15 s would delay every task after it. */
const redisRetryDelay = 2_000;

/** The connection that each queue was made with: BullMQ keeps it to itself. */
const connections = new WeakMap<object, RedisClient>();

/** The connection of a queue that `createTaskQueue` made, for what BullMQ has no call for. */
export function connectionOf(queue: TaskQueue): RedisClient {
  const connection = connections.get(queue);
  if (connection === undefined) throw new TypeError('the queue was not made by createTaskQueue');
  return connection;
}

/**
 * The queue of tasks. The connection stays the caller's: `close()` does not end it. Calls go to the connection at once,
 * also while it is being made, so that they fail as soon as its commands do. With telemetry a job carries its trace.
 */
export function createTaskQueue(connection: RedisClient, telemetry?: Telemetry): TaskQueue {
  const options: QueueOptions = {
    connection,
    prefix: KEY_PREFIX,
    defaultJobOptions: jobOptions,
    skipWaitingForReady: true,
    // BullMQ would ask once, and be broken for good if Redis were away just then. See `checkRedisServer`.
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
  /** With `use: 'worker'`. */
  readonly connection: RedisClient;
  /** Jobs at the same time. */
  readonly concurrency?: number;
  /** What operators see as the worker of a job; `host:pid` where left out. */
  readonly name?: string;
  /** Goes on with the traces that jobs carry. */
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

/** Ms that the relay's connection blocks: less than a connection for requests grants a command. */
const relayBlockTimeout = 2_000;

/** The relay over which cancellations travel. Close it before its connection. */
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
  /** False: an identical pull was under way, and this is its task. */
  readonly created: boolean;
}

export interface EnqueueOptions {
  /** For a new task; a task that has it already is the one that is meant. */
  readonly id?: string;
  /** See `takeTurn`. */
  readonly priority?: number;
}

/** The task of an identical pull that is under way, null when there is none. */
export async function findPullUnderWay(queue: TaskQueue, data: PullJobData): Promise<string | null> {
  const id = await queue.getDeduplicationJobId(pullIdentity(data));
  if (id === null) return null;
  // Somebody may have removed the job with a tool that knows nothing of BullMQ's keys. The key that is left is not removed here: by now it
  // may be that of another pull. BullMQ replaces it, in one step, when the next is put on the queue.
  return (await connectionOf(queue).exists(queueKey(id))) === 1 ? id : null;
}

/** Wakes a worker that waits for tasks: BullMQ does not when a prioritized job is given back (moveJobFromActiveToWait). */
export async function wakeWorkers(redis: RedisClient): Promise<void> {
  await redis.zadd(queueKey('marker'), 0, '0');
}

/**
 * Puts a pull on the queue, unless an identical one (owner, reference, name, platform, size, force) is under way; pulls with
 * credentials of their own are never identical, as these are sealed differently each time.
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
 * Puts an import on the queue. Its upload is there already, under this id (`createTaskId`): whoever finds an upload that
 * no task has can tell that it is nobody's.
 */
export async function enqueueImport(
  queue: TaskQueue,
  data: ImportJobData,
  { id, priority }: EnqueueOptions & { readonly id: string },
): Promise<void> {
  await queue.add(IMPORT_JOB, data, { jobId: id, ...(priority === undefined ? {} : { priority }) });
}

/** Pulls of the same identity give the same image under the same name. */
function pullIdentity(data: PullJobData): string {
  const parts = [data.owner, data.reference, data.name, data.platform, data.sizeBytes, data.force, data.sealedAuth];
  return createHash('sha256')
    .update(JSON.stringify(parts.map((part) => part ?? null)))
    .digest('hex');
}
