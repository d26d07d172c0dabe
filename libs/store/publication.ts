import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makePrivate } from './durable-file.ts';
import { storing, systemCode } from './error.ts';
import { remakeFolder } from './folder.ts';
import { ownIdentity } from './process-identity.ts';
import { doomedName, temporaryName } from './temporary-name.ts';
import { markUnsynced } from './unsynced-marker.ts';

/** An entry that is being made. It is invisible until it is published. */
export interface Publication {
  /** An empty temporary folder, mode 0700, on the same file system as the target. */
  readonly directory: string;
  /**
   * Gives the entry its name. If it exists already, ours is dropped: entries are named by content, so both are right. With
   * `replace`, ours takes its place, as the existing one may be damaged; it stays until ours is ready, or if that fails.
   */
  publish(options?: { readonly replace?: boolean | undefined }): Promise<void>;
  /** Removes the temporary folder. Does nothing after `publish`; may be called twice. */
  discard(): Promise<void>;
}

export interface SetAside {
  readonly putBack: () => Promise<unknown>;
  readonly remove: () => Promise<void>;
}

export interface BeginOptions {
  /** Where the entry will be. */
  readonly target: string;
  /** Sets aside what has the target's name. Returns how to put it back or remove it. */
  readonly setAside: () => Promise<SetAside | undefined>;
  /** Throws when the entry is incomplete. */
  readonly check?: (directory: string) => Promise<void>;
  /** Called once the entry is published, if it is ours. */
  readonly onPublished: (target: string) => void;
}

/** Begins to make an entry. @throws StoreError */
export async function beginPublication(options: BeginOptions): Promise<Publication> {
  const { target } = options;
  const self = await ownIdentity();
  const directory = join(dirname(target), temporaryName(self));
  await storing('make a temporary folder', () => makeFolder(directory));
  // Retried if files appear meanwhile: a terminated thread may have its last file operation in progress.
  const removal = { recursive: true, force: true, maxRetries: 5 } as const;
  const discard = () =>
    storing('remove a temporary folder', async () => {
      try {
        await rm(directory, removal);
      } catch (error) {
        await rename(directory, join(dirname(target), doomedName(self))).catch(() => undefined);
        throw error;
      }
    });
  return {
    directory,
    publish: ({ replace = false } = {}) =>
      storing('publish an entry', async () => {
        await options.check?.(directory);
        await makePrivate(directory);
        await markUnsynced(directory);
        const giveName = replace ? renameOver : renameUnlessThere;
        const isOurs = await giveName(directory, target, options.setAside);
        if (isOurs) options.onPublished(target);
        else await discard();
      }),
    discard,
  };
}

/** Makes a folder and, where it is missing, the one that it is in. */
async function makeFolder(directory: string): Promise<void> {
  const mode = 0o700;
  try {
    await mkdir(directory, { mode });
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    await remakeFolder(dirname(directory));
    await mkdir(directory, { mode });
  }
}

/** Returns false when the target exists: rename(2) does not replace a folder that is not empty. */
async function renameNew(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}

/** As `renameNew`, but replaces a target that is not a folder and thus not an entry: a stray file, or a dangling symlink. */
async function renameUnlessThere(from: string, to: string, setAside: BeginOptions['setAside']): Promise<boolean> {
  try {
    return await renameNew(from, to);
  } catch (error) {
    if (systemCode(error) !== 'ENOTDIR') throw error;
    return renameOver(from, to, setAside);
  }
}

/** Replaces the target. A folder cannot be replaced in one step: for a moment there is neither. */
async function renameOver(from: string, to: string, setAside: BeginOptions['setAside']): Promise<boolean> {
  const old = await setAside();
  let isOurs: boolean;
  try {
    isOurs = await renameNew(from, to);
  } catch (error) {
    await old?.putBack();
    throw error;
  }
  await old?.remove();
  return isOurs;
}
