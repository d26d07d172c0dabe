import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { syncToDisk, writeDurably } from './durable-file.ts';
import { StoreError, storing, systemCode } from './error.ts';
import { statIfThere } from './file-status.ts';
import { makeFolders, namesIn } from './folder.ts';
import { ImageEntry } from './image-entry.ts';
import { fileName, isFileName } from './names.ts';
import { ownIdentity } from './process-identity.ts';
import type { RootfsStore } from './rootfs-store.ts';
import { temporaryLabel, temporaryName } from './temporary-name.ts';

const suffix = '.json';

/** Attempts to write an entry while others write the same one, and each revokes what the others have not renamed yet. */
const MOST_TRIES = 20;

/** Errors of opening a path where there is nothing, a dangling or circular symlink, or a socket. */
const NO_FILE: ReadonlySet<string> = new Set(['ELOOP', 'ENOENT', 'ENOTDIR', 'ENXIO']);

/** Errors of opening another user's file. */
const UNREADABLE: ReadonlySet<string> = new Set(['EACCES', 'EPERM']);

/** Errors of renaming a file that another process has removed; the second one over NFS. */
const REVOKED: ReadonlySet<string> = new Set(['ENOENT', 'ESTALE']);

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
      await unlessRevoked(entry.name, () => this.#write(path, content, entry.name, asked));
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
      if (confirm === undefined) return removeEntry(path, name);
      return (await unlessRevoked(name, () => buryEntry(path, name, asked))) === 'gone';
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
        const text = await storing('read the image catalog', () => contentOf(this.#path(owner, name)));
        for (const key of keysIn(text)) keys.add(key);
      }
    }
    return keys;
  }

  /**
   * Undefined when another process is writing the same name: then `confirm` has to be called again. Our temporary file exists before we
   * remove those of others, so of two concurrent writers, the later one either removes the other's file, or confirms after the other is done.
   */
  async #write(
    path: string,
    content: string,
    name: string,
    confirm: () => Promise<void>,
  ): Promise<'written' | undefined> {
    let confirmed = false;
    const asked = async (temporary: string) => {
      await revokeWrites(path, name, temporary);
      await confirm();
      confirmed = true;
    };
    try {
      await writeDurably(path, content, { confirm: asked, label: name });
      return 'written';
    } catch (error) {
      if (confirmed && REVOKED.has(systemCode(error) ?? '')) return undefined;
      throw error;
    }
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

/**
 * Removes the files that others have written to become the entry of this name, and have not renamed yet, so that they cannot overwrite
 * ours. A writer may have been suspended between its confirmation and its rename, and resume at any time.
 */
async function revokeWrites(path: string, name: string, mine?: string): Promise<void> {
  const folder = dirname(path);
  for (const file of await namesIn(folder)) {
    // Checked first, since an owner may have a thousand images.
    if (temporaryLabel(file) !== name) continue;
    const other = join(folder, file);
    // A folder (see `buryEntry`) may receive its entry while it is being removed.
    if (other !== mine) await rm(other, { recursive: true, force: true, maxRetries: 5, retryDelay: 10 });
  }
}

/** Removes the entry, whatever it is. Needs no space, so that it works on a full disk. */
async function removeEntry(path: string, name: string): Promise<boolean> {
  await revokeWrites(path, name);
  try {
    await rm(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
  await syncToDisk(dirname(path));
  return true;
}

/**
 * Removes the entry that was confirmed, and none that came later: it is renamed into a folder that has the name as its label. Whoever
 * writes an entry of that name removes the folder first, which makes this rename fail. Undefined: that happened, confirm again.
 */
async function buryEntry(
  path: string,
  name: string,
  confirm: () => Promise<void>,
): Promise<'gone' | 'none' | undefined> {
  const grave = join(dirname(path), temporaryName(await ownIdentity(), name));
  try {
    await mkdir(grave, { mode: 0o700 });
  } catch (error) {
    // This owner has never had an image.
    if (systemCode(error) === 'ENOENT') return 'none';
    throw error;
  }
  try {
    await revokeWrites(path, name, grave);
    await confirm();
    await rename(path, join(grave, 'entry'));
    await syncToDisk(dirname(path));
    return 'gone';
  } catch (error) {
    if (!REVOKED.has(systemCode(error) ?? '')) throw error;
    return (await statIfThere(grave)) === undefined ? undefined : 'none';
  } finally {
    await rm(grave, { recursive: true, force: true });
  }
}

/** Repeats a change, after a short pause, that another process has revoked. @throws StoreError `internal` after `MOST_TRIES` */
async function unlessRevoked<T>(name: string, change: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const changed = await change();
    if (changed !== undefined) return changed;
    if (tries === MOST_TRIES) throw contended(name);
    await sleep(Math.random() * 20 * tries);
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

function contended(name: string): StoreError {
  return new StoreError('internal', `others keep writing the image ${name}; try again`, { retryable: true });
}

async function readEntry(path: string): Promise<ImageEntry | null> {
  try {
    return parseEntry(await contentOf(path));
  } catch (error) {
    // One unreadable file must not hide all others. `referencedKeys`, which must not miss any, does fail.
    if (UNREADABLE.has(systemCode(error) ?? '')) return null;
    throw error;
  }
}

function parseEntry(text: string): ImageEntry | null {
  try {
    return ImageEntry.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** The keys that an entry may refer to: if it is damaged, or of a later version, any that appears in it. */
function keysIn(text: string): readonly string[] {
  const entry = parseEntry(text);
  return entry === null ? (text.match(/[0-9a-f]{64}/g) ?? []) : [entry.rootfsKey];
}

/** Empty when there is no such file, or something else that somebody has put in its place. */
async function contentOf(path: string): Promise<string> {
  let file: FileHandle;
  try {
    // O_NONBLOCK: a fifo would block a thread until somebody writes to it.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (NO_FILE.has(systemCode(error) ?? '')) return '';
    throw error;
  }
  try {
    const status = await file.stat();
    if (!status.isFile() || status.size === 0) return '';
    // With a single call: readFile() would ask for the size again, and read past the end.
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(status.size), 0, status.size, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
