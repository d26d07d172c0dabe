import { readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { StoreError, storing, systemCode } from './error.ts';
import { namesIn } from './folder.ts';
import { ifThere, renameIfThere } from './if-there.ts';
import { digestHex } from './names.ts';
import { removeOrphans } from './orphans.ts';
import { ownIdentity } from './process-identity.ts';
import { beginPublication, type Publication } from './publication.ts';
import { doomedName, temporaryName } from './temporary-name.ts';
import { toTheEnd } from './to-the-end.ts';
import { LostByDisk, syncPublished, syncStateOf } from './unsynced-marker.ts';

/** Errors of a rename to a name that another entry has; EISDIR where a file is renamed. */
const TAKEN: ReadonlySet<string> = new Set(['ENOTEMPTY', 'EEXIST', 'EISDIR']);

/** An entry, and what an eviction has to know about it. */
export interface ContentEntry {
  /** 64 hex digits. */
  readonly hex: string;
  /** Bytes on disk. */
  readonly allocatedBytes: number;
  readonly lastUsed: Date;
}

/** A folder of immutable folders, each named by the SHA-256 of its content. */
export class ContentFolder {
  readonly folder: string;
  readonly #check: ((directory: string) => Promise<void>) | undefined;
  /** Paths of entries that this process has published and not synced yet. */
  readonly #unsynced = new Set<string>();
  /** Entries whose data the disk has not stored, and which could not be removed yet: path, and `identityOf` the folder. */
  readonly #lost = new Map<string, string>();
  /** Whether `sync` has looked at all entries, since `collectOrphans` if that was called. */
  #scanned = false;

  constructor(folder: string, check?: (directory: string) => Promise<void>) {
    this.folder = folder;
    this.#check = check;
  }

  /** The path of an entry, whether it exists or not. @throws StoreError `invalid_name` for a malformed digest */
  path(digest: string): string {
    return join(this.folder, digestHex(digest));
  }

  async has(digest: string): Promise<boolean> {
    const path = this.path(digest);
    return storing('look for an entry', () => isDirectory(path));
  }

  begin(digest: string): Promise<Publication> {
    return beginPublication({
      target: this.path(digest),
      setAside: async () => {
        const aside = await this.setAside(digest);
        if (aside === undefined) return undefined;
        return { putBack: () => this.putBack(aside, digest), remove: () => this.removeAside(aside) };
      },
      onPublished: (target) => {
        this.#unsynced.add(target);
        this.#lost.delete(target);
      },
      ...(this.#check === undefined ? {} : { check: this.#check }),
    });
  }

  /** Sets the entry's time of last use to now; does nothing for one that does not exist. */
  async touch(digest: string): Promise<void> {
    const path = this.path(digest);
    const now = new Date();
    await storing('touch an entry', () => ifThere(utimes(path, now, now)));
  }

  /**
   * Renames the entry away, so that no reader sees half of it. Returns its temporary path, or undefined when it did not exist. To be
   * followed by `putBack` or `removeAside`; if this process dies before that, `collectOrphans` puts the entry back.
   */
  async setAside(digest: string): Promise<string | undefined> {
    return this.#moveAside(digest, temporaryName(await ownIdentity(), digestHex(digest)));
  }

  async #moveAside(digest: string, name: string): Promise<string | undefined> {
    const path = this.path(digest);
    const aside = join(this.folder, name);
    return storing('set an entry aside', async () => ((await renameIfThere(path, aside)) ? aside : undefined));
  }

  /**
   * Removes the entry unless `isNeeded`, which is asked once the entry is set aside; it is put back if so, or if nobody can tell. Returns
   * whether it was removed.
   */
  async removeUnless(digest: string, isNeeded: () => Promise<boolean>): Promise<boolean> {
    const aside = await this.setAside(digest);
    if (aside === undefined) return false;
    let needed = true;
    try {
      needed = await isNeeded();
    } finally {
      if (needed) await this.putBack(aside, digest);
    }
    if (!needed) await this.removeAside(aside);
    return !needed;
  }

  /** Gives an entry that was set aside its name again. False when another has it by now: then ours is removed. */
  async putBack(aside: string, digest: string): Promise<boolean> {
    const path = this.path(digest);
    return storing('put an entry back', async () => {
      try {
        await rename(aside, path);
        return true;
      } catch (error) {
        if (!TAKEN.has(systemCode(error) ?? '')) throw error;
        await this.removeAside(aside);
        return false;
      }
    });
  }

  /** Removes an entry that was set aside. */
  async removeAside(aside: string): Promise<void> {
    // Renamed first: under a name with its digest, whoever finds it would take it for complete.
    const doomed = join(this.folder, doomedName(await ownIdentity()));
    await storing('remove an entry', async () => {
      if (await renameIfThere(aside, doomed)) await rm(doomed, { recursive: true, force: true });
    });
  }

  async remove(digest: string): Promise<void> {
    const doomed = await this.#moveAside(digest, doomedName(await ownIdentity()));
    if (doomed === undefined) return;
    this.#unsynced.delete(this.path(digest));
    await storing('remove an entry', () => rm(doomed, { recursive: true, force: true }));
  }

  /** Removes what dead processes have left unfinished, and puts back what they had set aside. What they did not sync, the next `sync` does. */
  async collectOrphans(): Promise<void> {
    this.#scanned = false;
    await removeOrphans(this.folder, async (aside, digest) => {
      const isWhole = (await syncStateOf(aside)) !== 'lost';
      if (isWhole) await this.putBack(aside, digest);
      else await this.removeAside(aside);
    });
  }

  /** The digests (64 hex digits) of all published entries. */
  async digests(): Promise<string[]> {
    const names = await storing('list entries', () => namesIn(this.folder));
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  async list(): Promise<ContentEntry[]> {
    const entries: ContentEntry[] = [];
    for (const hex of await this.digests()) {
      const entry = await storing('look at an entry', () => describe(this.path(hex), hex));
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }

  /** Removes the entries that a power failure may have damaged. */
  async removeLost(): Promise<void> {
    for (const hex of await this.digests()) {
      if ((await storing('check an entry', () => syncStateOf(this.path(hex)))) === 'lost') await this.remove(hex);
    }
  }

  /**
   * Syncs what this process has published since the last call; the first call, and the first after `collectOrphans`, looks at all entries,
   * as the process that published one may have died. An entry that the disk fails to store is removed: it would be damaged once it leaves
   * the page cache. Rejects with the first failure, after trying all.
   */
  async sync(): Promise<void> {
    const targets = this.#scanned ? [...this.#unsynced] : (await this.digests()).map((hex) => this.path(hex));
    // The next call tries again what fails.
    for (const target of targets) this.#unsynced.add(target);
    this.#scanned = true;
    await toTheEnd(targets, async (target) => {
      await storing('sync an entry', () => this.#syncOne(target));
      this.#unsynced.delete(target);
    });
  }

  async #syncOne(target: string): Promise<void> {
    const present = await identityOf(target);
    if (present === undefined) return;
    if (this.#lost.has(target)) await this.#removeLost(target, present);
    try {
      if ((await syncStateOf(target)) === 'unsynced') await syncPublished(target, this.folder);
    } catch (error) {
      if (error instanceof LostByDisk) {
        this.#lost.set(target, present);
        await this.#removeLost(target, await identityOf(target));
        throw new StoreError('disk_failed', `${target} was removed: the disk did not take it; pull again`, {
          cause: error,
        });
      }
      // Removed meanwhile, or synced by another process, which removed the marker.
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }

  /** Removes a lost entry, unless another process has replaced it meanwhile. */
  async #removeLost(target: string, present: string | undefined): Promise<void> {
    if (this.#lost.get(target) === present) await this.remove(basename(target));
    this.#lost.delete(target);
  }
}

/** Tells which folder has this path now; undefined when there is none. The inode number alone may be reused. */
async function identityOf(path: string): Promise<string | undefined> {
  const status = await ifThere(stat(path));
  return status && `${status.ino} ${status.birthtimeMs}`;
}

/** Undefined when the entry does not exist, or is removed meanwhile. A file in its place is described too, so that it is evicted like others. */
async function describe(path: string, hex: string): Promise<ContentEntry | undefined> {
  const folder = await ifThere(stat(path));
  if (folder === undefined) return undefined;
  const names = folder.isDirectory() ? await ifThere(readdir(path)) : [];
  if (names === undefined) return undefined;
  let blocks = folder.blocks;
  for (const name of names) blocks += (await ifThere(stat(join(path, name))))?.blocks ?? 0;
  return { hex, allocatedBytes: blocks * 512, lastUsed: folder.mtime };
}

async function isDirectory(path: string): Promise<boolean> {
  return (await ifThere(stat(path)))?.isDirectory() ?? false;
}
