import type { RegistryClient } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import type { RootfsCompression } from './images/rootfs-compression.ts';
import type { TaskService } from './tasks/task-service.ts';

/** What the routes work with. */
export interface Services {
  readonly store: Store;
  readonly registry: RegistryClient;
  readonly tasks: TaskService;
  readonly compression: RootfsCompression;
  /** See `ApiConfig`. */
  readonly overlay: boolean;
}
