import { constants } from 'node:fs';
import { access, readdir, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { StoreError, storing } from './error.ts';
import { makeFolders } from './folder.ts';
import { type RemoveUnreferencedOptions, removeUnreferencedRootfs } from './garbage.ts';
import { ImageCatalog } from './image-catalog.ts';
import { LayerCache } from './layer-cache.ts';
import { removeOrphans, removeUnlinked } from './orphans.ts';
import { PartialFiles } from './partial-files.ts';
import { contentPaths, type StorePaths, storePaths } from './paths.ts';
import { closeToOthers, openToOthers } from './private-mode.ts';
import { RootfsStore } from './rootfs-store.ts';
import { toTheEnd } from './to-the-end.ts';
import { Uploads } from './uploads.ts';
import { UserList } from './user-list.ts';

/** A data directory. Any number of processes and hosts may have it open. */
export interface Store {
  /** Absolute. */
  readonly directory: string;
  readonly paths: StorePaths;
  readonly layers: LayerCache;
  readonly partials: PartialFiles;
  readonly rootfs: RootfsStore;
  readonly images: ImageCatalog;
  readonly users: UserList;
  readonly uploads: Uploads;
  /** What an operator should change about the directory, to be logged loudly; empty when all is well. */
  readonly warnings: readonly string[];
  /** Syncs published files to the disk. Publishing does not wait for that, since syncing a gigabyte takes seconds. */
  syncPending(): Promise<void>;
  /** Removes what dead processes have left unfinished. Rejects with the first failure, after trying all. */
  collectOrphans(): Promise<void>;
  /** Removes root filesystems that no image points to and no task needs, and returns their keys. */
  removeUnreferenced(options: RemoveUnreferencedOptions): Promise<string[]>;
  /** Bytes that this user can still write. */
  freeBytes(): Promise<number>;
}

/**
 * Opens a data directory, making missing folders (mode 0700). Folders in it and files with secrets that are open to others are made
 * private; the directory itself, which may be anything (`/mnt`), keeps its mode, and there is a warning. Removes entries that a power
 * failure may have damaged. Rejects with StoreError `not_writable` when this user cannot use it.
 */
export async function openStore(dataDirectory: string): Promise<Store> {
  const directory = resolve(dataDirectory);
  const paths = storePaths(directory);
  const content = contentPaths(directory);
  const parents = [content.layers, content.partials, content.rootfs].map(dirname);
  await prepare(directory, [paths.redisDirectory, paths.runDirectory, ...parents, ...Object.values(content)]);
  for (const path of [paths.tokenFile, paths.secretKeyFile, paths.usersFile]) await closeToOthers(path, 0o600);
  const warning = await openToOthers(directory);

  const layers = new LayerCache(content.layers);
  const rootfs = new RootfsStore(content.rootfs);
  const images = new ImageCatalog(content.images, rootfs);
  const partials = new PartialFiles(content.partials);
  const freeBytes = () =>
    storing('ask for free space', async () => {
      const { bavail, bsize } = await statfs(directory);
      return bavail * bsize;
    });
  const uploads = new Uploads(content.uploads, freeBytes);
  await layers.content.removeLost();
  await rootfs.content.removeLost();

  return {
    directory,
    paths,
    layers,
    partials,
    rootfs,
    images,
    users: new UserList(paths),
    uploads,
    warnings: warning === undefined ? [] : [warning],
    // Root filesystems first: losing a layer only means that it is fetched again.
    syncPending: () => toTheEnd([rootfs.content, layers.content], (content) => content.sync()),
    collectOrphans: async () => {
      const owners = (await images.owners()).map((owner) => join(content.images, owner));
      const works = [
        ...[directory, ...owners].map((folder) => () => removeOrphans(folder)),
        () => layers.content.collectOrphans(),
        () => rootfs.collectOrphans(),
        ...[directory, paths.runDirectory].map((folder) => () => removeUnlinked(folder)),
        () => uploads.removeOrphans(),
      ];
      await toTheEnd(works, (work) => work());
    },
    removeUnreferenced: (options) => removeUnreferencedRootfs(rootfs, images, options),
    freeBytes,
  };
}

async function prepare(directory: string, folders: readonly string[]): Promise<void> {
  try {
    await makeFolders(directory, 0o700);
    for (const folder of folders) {
      await makeFolders(folder, 0o700);
      await closeToOthers(folder, 0o700);
      await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    }
    await readdir(directory);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StoreError(
      'not_writable',
      `the data directory ${directory} cannot be used: ${reason}; choose another with --data-dir or BHATTI_DATA_DIR`,
      { cause: error },
    );
  }
}
