import type { Store } from '@bhatti/store';

export interface UploadOwners {
  /** Whether the upload's task may be about to be queued. */
  readonly isArriving: (taskId: string) => Promise<boolean>;
  /** Whether its task still waits or runs. */
  readonly isLive: (taskId: string) => Promise<boolean>;
}

/** Removes uploads that have no task and will get none: an API died before it queued the task, or Redis lost it. */
export async function collectUploads({ uploads }: Pick<Store, 'uploads'>, owners: UploadOwners): Promise<void> {
  for (const id of await uploads.list()) {
    // In this order: an upload stops arriving only once its task is queued.
    if ((await owners.isArriving(id)) || (await owners.isLive(id))) continue;
    await uploads.remove(id);
  }
}
