/** The queue contract: what tasks are, how they travel through Redis, and how they are viewed and cancelled. */

export { isArriving, noteArrival } from './arriving-upload.ts';
export { type CancellationSubscription, cancelTask, subscribeCancellations } from './cancellation.ts';
export { counted } from './counted.ts';
export { openCredentials, RegistryCredentials, sealCredentials } from './credentials.ts';
export { TaskError, type TaskErrorCode } from './error.ts';
export { encodeFailure, jobError, parseFailure, TaskFailure } from './failure.ts';
export { FetchedLayers } from './fetched-layers.ts';
export { formatBytes } from './format-bytes.ts';
export { claimKey, findKeyedTask, type KeyedRequest, repointKey } from './idempotency.ts';
export { deriveImageName, isValidImageName } from './image-name.ts';
export { removeCredentials } from './job-credentials.ts';
export { takeUpLateRetries } from './late-retries.ts';
export { LEASE_TTL, type Lease, LeaseLost, type LeaseOptions, layerLease, takeLease, withLease } from './lease.ts';
export {
  type MetricDefinition,
  type MetricFamily,
  type MetricLabels,
  type MetricSample,
  readWorkerMetrics,
  type WorkerCounter,
  type WorkerHistogram,
  WorkerMetrics,
  workerMetrics,
} from './metrics.ts';
export { oldestWaiting } from './oldest-waiting.ts';
export { parseBytes } from './parse-bytes.ts';
export {
  createProgressReporter,
  type ProgressReporter,
  type ProgressReporterOptions,
  type ProgressTarget,
  type ProgressUpdate,
} from './progress-reporter.ts';
export {
  ImportJobData,
  LayerProgress,
  PullJobData,
  PullPhase,
  PullResult,
  sealedAuthOf,
  TaskJobData,
  TaskProgress,
  TaskStep,
} from './pull-task.ts';
export {
  createTaskQueue,
  createTaskRelay,
  type EnqueuedPull,
  type EnqueueOptions,
  enqueueImport,
  enqueuePull,
  findPullUnderWay,
  KEY_PREFIX,
  LOCK_DURATION,
  MAX_DEATHS,
  QUEUE_NAME,
  queueKey,
  type TaskJob,
  type TaskJobName,
  type TaskQueue,
  type TaskWorker,
  type TaskWorkerOptions,
  wakeWorkers,
  workerOptions,
} from './queue.ts';
export { redirectClientWarnings } from './redis/redis-client-warnings.ts';
export { type ConnectRedisOptions, connectRedis, type RedisClient } from './redis/redis-connection.ts';
export { type RedisInfo, readRedisInfo } from './redis/redis-info.ts';
export { errorReplyOf, type RedisRefusal, refusalIn, refusalOf } from './redis/redis-refusal.ts';
export { RedisScript } from './redis/redis-script.ts';
export { checkRedisServer, type RedisServer } from './redis/redis-server.ts';
export { parseRedisUrl, type RedisAddress } from './redis/redis-url.ts';
export { RunningTasks } from './running-tasks.ts';
export { loadSecretKey, type SecretKeyOptions } from './secret-key.ts';
export { type ClaimKind, liveTask, TaskClaims } from './task-claims.ts';
export { createTaskId, isTaskId } from './task-id.ts';
export { admitTask, type TaskLimits } from './task-limits.ts';
export { type ListTasksOptions, listTasks, type TaskPage, type TaskPosition } from './task-list.ts';
export { findTask, isEnded, type OwnedTask, TaskStatus, TaskView } from './task-view.ts';
export { takeTurn } from './turn.ts';
export { emptyUnreadableFields } from './unreadable-jobs.ts';
