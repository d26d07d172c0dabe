import type { RegistryClient } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import type { ClaimKind, FetchedLayers, RedisClient, TaskClaims, WorkerMetrics } from '@bhatti/tasks';
import type { Tracing } from '@bhatti/tracing';
import type { Logger } from 'pino';
import type { BackgroundWork } from './background-work.ts';
import type { DecodeSlots } from './decode-slots.ts';
import type { UnpackLimits } from './environment.ts';
import type { LayerCacheLimit } from './layer-cache-limit.ts';
import type { Overlay } from './overlay.ts';

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
  /** Of what belongs to no task, see `taskLogger`. */
  readonly logger: Logger;
}

/** The lease of a root filesystem that is being built. */
export const rootfsLease = (key: string): string => `rootfs:${key}`;
