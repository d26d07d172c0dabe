import type { Store } from '@bhatti/store';

export interface UploadOwners {
  /** Whether the upload may be about to have its task. */
  readonly isArriving: (taskId: string) => Promise<boolean>;
  /** Whether its task still waits or runs. */
  readonly isLive: (taskId: string) => Promise<boolean>;
}

/** Removes uploads that no task has, or is about to have: an API died between the two, or Redis lost the task. */
export async function collectUploads({ uploads }: Pick<Store, 'uploads'>, owners: UploadOwners): Promise<void> {
  for (const id of await uploads.list()) {
    // In this order: one that has arrived has its task.
    if ((await owners.isArriving(id)) || (await owners.isLive(id))) continue;
    await uploads.remove(id);
  }
}
