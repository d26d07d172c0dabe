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

/** Of writing an entry while others write the same: each takes from the others what they have not renamed yet. */
const MOST_TRIES = 20;

/** What opening fails with where there is nothing, a link to nothing or to itself, or a socket. */
const NO_FILE: ReadonlySet<string> = new Set(['ELOOP', 'ENOENT', 'ENOTDIR', 'ENXIO']);

/** What opening another user's file fails with. */
const UNREADABLE: ReadonlySet<string> = new Set(['EACCES', 'EPERM']);

/** What the rename of such a file fails with; the second over NFS. */
const REVOKED: ReadonlySet<string> = new Set(['ENOENT', 'ESTALE']);

/** Which names stand for which root filesystems, for each owner: `<owner>/<name>.json`. */
export class ImageCatalog {
  readonly #folder: string;
  readonly #rootfs: RootfsStore;

  constructor(folder: string, rootfs: RootfsStore) {
    this.#folder = folder;
    this.#rootfs = rootfs;
  }

  /** Null when there is none, when its file is damaged or unreadable, or when its root filesystem is gone: pulling again mends it. */
  async get(owner: string, name: string): Promise<ImageEntry | null> {
    const path = this.#path(owner, name);
    const entry = await storing('read the image catalog', () => readEntry(path));
    if (entry?.name !== name) return null;
    return (await this.#rootfs.content.has(entry.rootfsKey)) ? entry : null;
  }

  /** The owner's images by name. */
  async list(owner: string): Promise<ImageEntry[]> {
    const entries: ImageEntry[] = [];
    for await (const entry of this.startingAt(owner, '')) entries.push(entry);
    return entries;
  }

  /** The owner's images by name, from that name on (in the order of code units). Each is read when it is asked for. */
  async *startingAt(owner: string, first: string): AsyncGenerator<ImageEntry> {
    for (const name of await this.#names(owner)) {
      if (name < first) continue;
      const entry = await this.get(owner, name);
      if (entry !== null) yield entry;
    }
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
    const content = `${JSON.stringify(checked, null, 2)}\n`;
    await confirmedBy(confirm, 'write the image catalog', async (asked) => {
      await makeFolders(join(this.#folder, owner), 0o700);
      await unlessRevoked(entry.name, () => this.#write(path, content, entry.name, asked));
    });
    // Again, after the entry is written: see `removeUnreferencedRootfs`, which looks the other way round.
    await this.#requireRootfs(checked);
  }

  /**
   * Puts an entry in the place of what `get` gave for its name. False, and nothing is changed, when the name stands for something
   * else by now: another has put, changed or deleted it. Rejects as `put` does.
   */
  async replace(
    owner: string,
    present: ImageEntry | null,
    entry: ImageEntry,
    confirm?: () => Promise<void>,
  ): Promise<boolean> {
    const moved = new Error('the name stands for something else by now');
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
   * False when there was none. Its root filesystem stays until `removeUnreferenced`.
   * @param confirm asked last, whether it is still what is meant; when it rejects, so does this, and the name stands for what it did
   */
  async delete(owner: string, name: string, confirm?: () => Promise<void>): Promise<boolean> {
    const path = this.#path(owner, name);
    return confirmedBy(confirm, 'change the image catalog', async (asked) => {
      if (confirm === undefined) return removeEntry(path, name);
      return (await unlessRevoked(name, () => buryEntry(path, name, asked))) === 'gone';
    });
  }

  async owners(): Promise<string[]> {
    const names = await storing('list the owners of images', () => readdir(this.#folder));
    return names.filter(isFileName).sort();
  }

  /** The keys of all root filesystems that an image of any owner points to, and all that those which cannot be read may mean. */
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
   * Undefined when another came to write the same name: then who confirms has to be asked again. Ours is there before it takes away
   * those of others. So of two at once the later takes the other's away, or is asked after the other is done.
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
 * Takes from others what they have written to be the entry of this name, and not renamed yet: theirs cannot come after ours.
 * One of them may have hung between asking whose the task is and the rename, and wake any time later.
 */
async function revokeWrites(path: string, name: string, mine?: string): Promise<void> {
  const folder = dirname(path);
  for (const file of await namesIn(folder)) {
    // First: an owner may have a thousand images.
    if (temporaryLabel(file) !== name) continue;
    const other = join(folder, file);
    // A folder (see `buryEntry`) may get its entry while it is removed.
    if (other !== mine) await rm(other, { recursive: true, force: true, maxRetries: 5, retryDelay: 10 });
  }
}

/** Whatever the name stands for goes. Takes no room, as a full disk may have none. */
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
 * Takes away what is confirmed to be meant, and nothing that came after: the entry is renamed into a folder that has the name as its
 * label. Whoever writes an entry of that name removes the folder first, and then this rename fails. Undefined: it did, ask again.
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
    // The owner has never had an image.
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

/** Tries again, after a moment, where another took away what was written. */
async function unlessRevoked<T>(name: string, change: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const changed = await change();
    if (changed !== undefined) return changed;
    if (tries === MOST_TRIES) throw contended(name);
    await sleep(Math.random() * 20 * tries);
  }
}

/** A change that the caller confirms. Its refusal is the caller's own error, and no failure of the store. */
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
    // One of them must not hide all others. Who has to know what it may mean (`referencedKeys`) is told.
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

/** One that is damaged, or of a later version, may mean any key that is in it. */
function keysIn(text: string): readonly string[] {
  const entry = parseEntry(text);
  return entry === null ? (text.match(/[0-9a-f]{64}/g) ?? []) : [entry.rootfsKey];
}

/** Empty when there is no such file, or something else in its place, which other people have put there. */
async function contentOf(path: string): Promise<string> {
  let file: FileHandle;
  try {
    // A fifo would keep a thread until somebody writes to it.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (NO_FILE.has(systemCode(error) ?? '')) return '';
    throw error;
  }
  try {
    const status = await file.stat();
    if (!status.isFile() || status.size === 0) return '';
    // In one go: readFile() asks for the size once more, and for what comes after the end.
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(status.size), 0, status.size, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
