import { availableParallelism } from 'node:os';
import { createRegistryClient, type RegistryClient, type RegistryClientOptions } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import { type ClaimKind, FetchedLayers, type RedisClient, TaskClaims, WorkerMetrics } from '@bhatti/tasks';
import type { Tracing } from '@bhatti/tracing';
import type { Logger } from 'pino';
import type { Activity } from './activity.ts';
import type { UnpackLimits } from './environment.ts';
import { BackgroundWork } from './housekeeping/background-work.ts';
import { LayerCacheLimit } from './housekeeping/layer-cache-limit.ts';
import { recordDigests } from './housekeeping/rootfs-digests.ts';
import { DecodeSlots } from './image/decode-slots.ts';
import type { Overlay } from './image/overlay.ts';
import { taskLogger } from './job/task-log.ts';

/** Decodes that run at once in a process (see DecodeSlots), if the machine has as many processors. */
const DECODE_THREADS = 2;

/**
 * Milliseconds that work on published files waits for a lull before it starts regardless. What was not synced is lost with the
 * power and has to be built again, so that should not be much; a digest is missed only by those who ask for it.
 */
const SYNC_PATIENCE = 15_000;
const DIGEST_PATIENCE = 120_000;

/** What the steps of a pull work with; one set a process, shared by its jobs. */
export interface PullServices {
  readonly store: Store;
  readonly registry: RegistryClient;
  /** Where leases are. */
  readonly redis: RedisClient;
  /** Which tasks want which partial downloads, and need which cached layers. */
  readonly claims: Readonly<Record<ClaimKind, TaskClaims>>;
  /** Which layers a task had to fetch. */
  readonly fetchedLayers: FetchedLayers;
  readonly layerCache: LayerCacheLimit;
  readonly decodeSlots: DecodeSlots;
  readonly sync: BackgroundWork;
  readonly limits: UnpackLimits;
  /** Takes the SHA-256 of what was published. */
  readonly digests: BackgroundWork;
  /** Goes on top of every image. */
  readonly overlay?: Overlay | undefined;
  readonly metrics: WorkerMetrics;
  readonly tracing?: Tracing | undefined;
  /** For what belongs to no task, see `taskLogger`. */
  readonly logger: Logger;
}

export interface PullServicesOptions {
  readonly store: Store;
  readonly registry?: RegistryClientOptions;
  /** Bytes on disk that cached layers may take; no limit where it is left out. */
  readonly cacheBytes?: number | undefined;
  readonly limits?: UnpackLimits | undefined;
  /** Goes on top of every image. */
  readonly overlay?: Overlay | undefined;
  readonly tracing?: Tracing | undefined;
  readonly logger: Logger;
}

/** The parts of a worker that its services depend on. */
export interface WorkerState {
  readonly redis: RedisClient;
  /** Whether a task still waits or runs. */
  readonly isLive: (taskId: string) => Promise<boolean>;
  readonly activity: Activity;
  /** Aborted when the worker stops. */
  readonly stopping: AbortSignal;
}

export function createPullServices(options: PullServicesOptions, worker: WorkerState): PullServices {
  const { store, logger } = options;
  const { redis, activity, stopping } = worker;
  const claims = createClaims(worker);
  const limit = options.cacheBytes ?? Number.POSITIVE_INFINITY;
  const inLull = (what: string, patience: number, work: () => Promise<void>) =>
    new BackgroundWork({ what, work, lull: () => activity.lull(patience, stopping), logger });
  return {
    store,
    registry: createRegistry(options),
    redis,
    claims,
    fetchedLayers: new FetchedLayers(redis),
    layerCache: new LayerCacheLimit({ store, redis, claims: claims.layer, limit, logger }),
    decodeSlots: new DecodeSlots(Math.min(DECODE_THREADS, availableParallelism())),
    sync: inLull('sync', SYNC_PATIENCE, () => store.syncPending()),
    digests: inLull('take the digests of', DIGEST_PATIENCE, () => recordDigests(store, stopping)),
    overlay: options.overlay,
    limits: options.limits ?? { layer: {}, image: {}, archive: {} },
    metrics: new WorkerMetrics(redis),
    tracing: options.tracing,
    logger,
  };
}

function createRegistry({ registry, logger }: PullServicesOptions): RegistryClient {
  return createRegistryClient({
    onRetry: ({ error, delayMs, failures }) =>
      taskLogger(logger).warn({ code: error.code, delay_ms: delayMs, failures }, `registry: ${error.message}`),
    ...registry,
  });
}

function createClaims({ redis, isLive }: WorkerState): Record<ClaimKind, TaskClaims> {
  return {
    partial: new TaskClaims(redis, 'partial', isLive),
    layer: new TaskClaims(redis, 'layer', isLive),
    rootfs: new TaskClaims(redis, 'rootfs', isLive),
  };
}

/** The lease of a root filesystem that is being built. */
export const rootfsLease = (key: string): string => `rootfs:${key}`;
