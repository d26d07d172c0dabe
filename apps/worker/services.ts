import type { RegistryClient } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import type { RedisClient, WorkerMetrics } from '@bhatti/tasks';
import type { Tracing } from '@bhatti/tracing';
import type { BackgroundSync } from './background-sync.ts';
import type { DecodeSlots } from './decode-slots.ts';
import type { PartialClaims } from './partial-claims.ts';

/** What the steps of a pull work with; one set a process, shared by its jobs. */
export interface PullServices {
  readonly store: Store;
  readonly registry: RegistryClient;
  /** Where leases are. */
  readonly redis: RedisClient;
  readonly claims: PartialClaims;
  readonly decodeSlots: DecodeSlots;
  readonly sync: BackgroundSync;
  readonly metrics: WorkerMetrics;
  readonly tracing?: Tracing | undefined;
}

/** Milliseconds after which the lease of a dead worker is free: before its job is taken over, which takes 10 s or more. */
export const LEASE_TTL = 6000;

/** Names of leases. By the digest of the blob, because the partial file has that name. */
export const layerLease = (digest: string): string => `layer:${digest}`;
export const rootfsLease = (key: string): string => `rootfs:${key}`;
