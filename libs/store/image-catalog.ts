import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { StoreError, storing } from './error.ts';
import { removeConfirmedEntry, removeEntry, writeEntry } from './fenced-entry.ts';
import { makeFolders, namesIn } from './folder.ts';
import { ImageEntry } from './image-entry.ts';
import { keysInEntry, readEntry } from './image-entry-file.ts';
import { fileName, isFileName } from './names.ts';
import type { RootfsStore } from './rootfs-store.ts';

const suffix = '.json';

/** Maps each owner's image names to root filesystems: `<owner>/<name>.json`. */
export class ImageCatalog {
  readonly #folder: string;
  readonly #rootfs: RootfsStore;

  constructor(folder: string, rootfs: RootfsStore) {
    this.#folder = folder;
    this.#rootfs = rootfs;
  }

  /** Null when there is no such image, or its file is damaged or unreadable, or its root filesystem is gone; pulling again repairs it. */
  async get(owner: string, name: string): Promise<ImageEntry | null> {
    const path = this.#path(owner, name);
    const entry = await storing('read the image catalog', () => readEntry(path));
    if (entry?.name !== name) return null;
    return (await this.#rootfs.content.has(entry.rootfsKey)) ? entry : null;
  }

  /** The owner's images, sorted by name. */
  async list(owner: string): Promise<ImageEntry[]> {
    const entries: ImageEntry[] = [];
    for await (const entry of this.startingAt(owner, '')) entries.push(entry);
    return entries;
  }

  /** The owner's images from the name `first` on, sorted by name (in code unit order). Each is read when it is requested. */
  async *startingAt(owner: string, first: string): AsyncGenerator<ImageEntry> {
    for (const name of await this.#names(owner)) {
      if (name < first) continue;
      const entry = await this.get(owner, name);
      if (entry !== null) yield entry;
    }
  }

  /**
   * Makes the name refer to the entry, replacing what it referred to. Rejects with StoreError `not_found` (retryable) when the
   * root filesystem does not exist (any more): the image would be incomplete.
   *
   * @param confirm called just before the change; if it rejects, so does this, and nothing is changed
   */
  async put(owner: string, entry: ImageEntry, confirm?: () => Promise<void>): Promise<void> {
    const path = this.#path(owner, entry.name);
    const checked = ImageEntry.parse(entry);
    await this.#requireRootfs(checked);
    const content = `${JSON.stringify(checked, null, 2)}\n`;
    await confirmedBy(confirm, 'write the image catalog', async (asked) => {
      await makeFolders(join(this.#folder, owner), 0o700);
      await writeEntry(path, entry.name, content, asked);
    });
    // Again after the entry is written: see `removeUnreferencedRootfs`, which does the two steps in the opposite order.
    await this.#requireRootfs(checked);
  }

  /**
   * Replaces the entry that `get` returned for the name. Returns false, and changes nothing, when the name refers to something else by
   * now: another process has put, changed or deleted it. Rejects as `put` does.
   */
  async replace(
    owner: string,
    present: ImageEntry | null,
    entry: ImageEntry,
    confirm?: () => Promise<void>,
  ): Promise<boolean> {
    const moved = new Error('the name refers to something else by now');
    try {
      await this.put(owner, entry, async () => {
        await confirm?.();
        if (!isDeepStrictEqual(await this.get(owner, entry.name), present)) throw moved;
      });
      return true;
    } catch (error) {
      if (error === moved) return false;
      throw error;
    }
  }

  /**
   * Deletes a name; false when there was none. Its root filesystem stays until `removeUnreferenced`.
   *
   * @param confirm called just before the change, to check that the name still refers to what is meant; if it rejects, so does this, and
   * nothing is changed
   */
  async delete(owner: string, name: string, confirm?: () => Promise<void>): Promise<boolean> {
    const path = this.#path(owner, name);
    return confirmedBy(confirm, 'change the image catalog', async (asked) => {
      return confirm === undefined ? removeEntry(path, name) : removeConfirmedEntry(path, name, asked);
    });
  }

  /** All owners that have, or had, an image; sorted. */
  async owners(): Promise<string[]> {
    const names = await storing('list the owners of images', () => readdir(this.#folder));
    return names.filter(isFileName).sort();
  }

  /** The keys of all root filesystems that an image of any owner refers to, or may refer to, where its file cannot be parsed. */
  async referencedKeys(): Promise<Set<string>> {
    const keys = new Set<string>();
    for (const owner of await this.owners()) {
      for (const name of await this.#names(owner)) {
        const found = await storing('read the image catalog', () => keysInEntry(this.#path(owner, name)));
        for (const key of found) keys.add(key);
      }
    }
    return keys;
  }

  async #requireRootfs(entry: ImageEntry): Promise<void> {
    if (await this.#rootfs.content.has(entry.rootfsKey)) return;
    throw new StoreError(
      'not_found',
      `the root filesystem of the image ${entry.name} was removed meanwhile; pull again`,
      {
        retryable: true,
      },
    );
  }

  async #names(owner: string): Promise<string[]> {
    const folder = join(this.#folder, fileName('owner', owner));
    const files = await storing('list images', () => namesIn(folder));
    return files
      .filter((file) => !file.startsWith('.') && file.endsWith(suffix))
      .map((file) => file.slice(0, -suffix.length))
      .filter(isFileName)
      .sort();
  }

  #path(owner: string, name: string): string {
    return join(this.#folder, fileName('owner', owner), `${fileName('image name', name)}${suffix}`);
  }
}

/** Runs a change that the caller confirms. If `confirm` rejects, that error is rethrown as it is, not as a failure of the store. */
async function confirmedBy<T>(
  confirm: (() => Promise<void>) | undefined,
  what: string,
  change: (asked: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const refusals: unknown[] = [];
  const asked = async () => {
    await confirm?.().catch((error: unknown) => {
      refusals.push(error);
      throw error;
    });
  };
  try {
    return await storing(what, () => change(asked));
  } catch (error) {
    throw refusals[0] ?? error;
  }
}
