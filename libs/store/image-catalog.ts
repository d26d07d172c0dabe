import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncToDisk, writeDurably } from './durable-file.ts';
import { StoreError, storing, systemCode } from './error.ts';
import { ImageEntry } from './image-entry.ts';
import { fileName } from './names.ts';
import type { RootfsStore } from './rootfs-store.ts';

const suffix = '.json';

export interface ListOptions {
  readonly after?: string | undefined;
  readonly limit?: number | undefined;
}

/** Which names stand for which root filesystems, for each owner: `<owner>/<name>.json`. */
export class ImageCatalog {
  readonly #folder: string;
  readonly #rootfs: RootfsStore;

  constructor(folder: string, rootfs: RootfsStore) {
    this.#folder = folder;
    this.#rootfs = rootfs;
  }

  /** Null when there is none, when its file is damaged, or when its root filesystem is gone: pulling again mends it. */
  async get(owner: string, name: string): Promise<ImageEntry | null> {
    const path = this.#path(owner, name);
    const entry = await storing('read the image catalog', () => readEntry(path));
    if (entry?.name !== name) return null;
    return (await this.#rootfs.content.has(entry.rootfsKey)) ? entry : null;
  }

  /** The owner's images by name, those after the name `after`, at most `limit`. */
  async list(owner: string, { after = '', limit = Number.POSITIVE_INFINITY }: ListOptions = {}): Promise<ImageEntry[]> {
    const entries: ImageEntry[] = [];
    for (const name of await this.#names(owner)) {
      if (entries.length >= limit) break;
      if (name <= after) continue;
      const entry = await this.get(owner, name);
      if (entry !== null) entries.push(entry);
    }
    return entries;
  }

  /**
   * Makes the name stand for the entry, in place of what it stood for. Rejects with StoreError `not_found` (retryable)
   * when the root filesystem is not there (any more): it would be an image that is not whole.
   * @param confirm asked last, when all that takes time is done; when it rejects, so does this, and the name stands for what it did
   */
  async put(owner: string, entry: ImageEntry, confirm?: () => Promise<void>): Promise<void> {
    const path = this.#path(owner, entry.name);
    const checked = ImageEntry.parse(entry);
    await this.#requireRootfs(checked);
    const refusals: unknown[] = [];
    try {
      await storing('write the image catalog', async () => {
        await mkdir(join(this.#folder, owner), { recursive: true, mode: 0o700 });
        await writeDurably(path, `${JSON.stringify(checked, null, 2)}\n`, async () => {
          await confirm?.().catch((error: unknown) => {
            refusals.push(error);
            throw error;
          });
        });
      });
    } catch (error) {
      // A refusal is the caller's own error, and no failure of the store.
      throw refusals[0] ?? error;
    }
    // Again, after the entry is written: see `removeUnreferencedRootfs`, which looks the other way round.
    await this.#requireRootfs(checked);
  }

  /** False when there was none. Its root filesystem stays until `removeUnreferenced`. */
  async delete(owner: string, name: string): Promise<boolean> {
    const path = this.#path(owner, name);
    return storing('change the image catalog', async () => {
      try {
        await rm(path);
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return false;
        throw error;
      }
      await syncToDisk(join(this.#folder, owner));
      return true;
    });
  }

  async owners(): Promise<string[]> {
    const names = await storing('list the owners of images', () => readdir(this.#folder));
    return names.filter((name) => !name.startsWith('.')).sort();
  }

  /** The keys of all root filesystems that an image of any owner points to. */
  async referencedKeys(): Promise<Set<string>> {
    const keys = new Set<string>();
    for (const owner of await this.owners()) {
      for (const name of await this.#names(owner)) {
        const entry = await storing('read the image catalog', () => readEntry(this.#path(owner, name)));
        if (entry !== null) keys.add(entry.rootfsKey);
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
    const files = await storing('list images', async () => {
      try {
        return await readdir(folder);
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return [];
        throw error;
      }
    });
    return files
      .filter((file) => !file.startsWith('.') && file.endsWith(suffix))
      .map((file) => file.slice(0, -suffix.length))
      .sort();
  }

  #path(owner: string, name: string): string {
    return join(this.#folder, fileName('owner', owner), `${fileName('image name', name)}${suffix}`);
  }
}

async function readEntry(path: string): Promise<ImageEntry | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    return ImageEntry.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
