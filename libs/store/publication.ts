import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makePrivate } from './durable-file.ts';
import { StoreError, storing, systemCode } from './error.ts';
import { ownIdentity } from './process-identity.ts';
import { doomedName, temporaryName } from './temporary-name.ts';
import { markUnsynced } from './unsynced-marker.ts';

/** An entry that is being made. Nobody sees it before it is published. */
export interface Publication {
  /** Temporary folder on the file system of its target, empty, mode 0700. */
  readonly directory: string;
  /**
   * Gives the entry its name. When another was faster, ours is dropped: entries are named by content, both are right. With
   * `replace` ours takes its place: one that is there was damaged, maybe. It stays until ours is ready, and when that fails.
   */
  publish(options?: { readonly replace?: boolean | undefined }): Promise<void>;
  /** Drops what was made. Does nothing after `publish`; may be called twice. */
  discard(): Promise<void>;
}

export interface SetAside {
  readonly putBack: () => Promise<unknown>;
  readonly remove: () => Promise<void>;
}

export interface BeginOptions {
  /** Where the entry will be. */
  readonly target: string;
  /** Takes away what is there. Returns how to go on: give it back, or remove it. */
  readonly setAside: () => Promise<SetAside | undefined>;
  /** Throws when what was made is no whole entry. */
  readonly check?: (directory: string) => Promise<void>;
  /** Told of the entry once it is published by this process. */
  readonly onPublished: (target: string) => void;
}

export async function beginPublication(options: BeginOptions): Promise<Publication> {
  const { target } = options;
  const self = await ownIdentity();
  const directory = join(dirname(target), temporaryName(self));
  await storing('make a temporary folder', () => makeFolder(directory));
  // Again when it fills up meanwhile: a thread that was ended may have its last file operation under way.
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
  let published = false;
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
        published = true;
      }),
    discard: async () => {
      if (!published) await discard();
    },
  };
}

/**
 * Makes the one that it is in, too: who empties `layers/` takes that away. But no more than that: where `layers/` itself is gone, a
 * disk was unmounted, most likely, and what was under its mount point is another's.
 */
async function makeFolder(directory: string): Promise<void> {
  const parent = dirname(directory);
  const mode = 0o700;
  try {
    await mkdir(directory, { mode });
    return;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  try {
    await mkdir(parent, { mode });
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') throw lost(dirname(parent));
    // Another was faster.
    if (code !== 'EEXIST') throw error;
  }
  await mkdir(directory, { mode });
}

function lost(folder: string): StoreError {
  return new StoreError(
    'not_writable',
    `${folder} is not there any more: it was removed, or its disk unmounted; put it back, or start the server again`,
  );
}

/** False when the target is there already: rename(2) does not replace a folder that is not empty. */
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

/** As `renameNew`; what is there and is no folder is no entry, and makes way: a file that somebody has put there, or a link to nothing. */
async function renameUnlessThere(from: string, to: string, setAside: BeginOptions['setAside']): Promise<boolean> {
  try {
    return await renameNew(from, to);
  } catch (error) {
    if (systemCode(error) !== 'ENOTDIR') throw error;
    return renameOver(from, to, setAside);
  }
}

/** A folder takes no other's place in one step: for a moment there is neither. */
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
